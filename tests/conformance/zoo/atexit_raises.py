import atexit
atexit.register(print, "first registered")
atexit.register(lambda: 1 / 0)
@atexit.register
def f(): raise KeyError("k")
