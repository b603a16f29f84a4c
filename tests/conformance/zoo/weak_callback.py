import weakref
class C: ...
c = C()
r = weakref.ref(c, lambda r: print("callback"))
