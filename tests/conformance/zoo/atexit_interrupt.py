import atexit
def f(): raise KeyboardInterrupt
atexit.register(print, "later")
atexit.register(f)
