def g():
    with open("left", "w") as f:
        f.write("one"); yield; f.write("two")
a = g(); next(a)
