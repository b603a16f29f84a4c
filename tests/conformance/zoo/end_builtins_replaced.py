import builtins
for n in ("isinstance","type","vars","any","issubclass","zip","map","dict","all","list","id"):
    setattr(builtins, n, lambda *a: print("mine"))
