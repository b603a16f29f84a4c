import weakref, atexit
class C: ...
cs = [C() for _ in range(3)]
for i, c in enumerate(cs): weakref.finalize(c, print, "finalize", i)
atexit.register(print, "atexit")
