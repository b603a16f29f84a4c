import weakref
class C: ...
c = C()
f = weakref.finalize(c, print, "finalized")
d = C()
g = weakref.finalize(d, print, "not at exit"); g.atexit = False
h = weakref.finalize(C, print, "class")
