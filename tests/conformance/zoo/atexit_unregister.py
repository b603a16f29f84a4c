import atexit
atexit.register(print, "a"); atexit.register(print, "b"); atexit.register(len, "c")
print(atexit._ncallbacks())
atexit.unregister(print)
print(atexit._ncallbacks())
