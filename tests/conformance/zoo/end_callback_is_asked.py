import weakref
class C:
    def __call__(self, r): pass
    def __getattr__(self, n): print("asked", n); raise RuntimeError(n)
class X: pass
x = X(); r = weakref.ref(x, C())
