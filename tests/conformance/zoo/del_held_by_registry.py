import codecs, copyreg, atexit, logging, functools
class C:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
    def __call__(self, *a): return None
codecs.register(C("codecs"))
copyreg.pickle(complex, C("copyreg"))
logging.getLogger("x").held = C("logger")
@functools.lru_cache
def f(x): return C("cached")
f(1)
