import weakref, sys
class C: ...
c = C()
sys.ref = weakref.ref(c, lambda r, p=print: p("callback"))
