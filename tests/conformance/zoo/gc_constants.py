import gc
def f(): return (1, "a")
print(gc.is_tracked(f()) in (True, False))
gc.collect()
print(gc.is_tracked(f()))
