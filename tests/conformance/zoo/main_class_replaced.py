import sys, types
class M(types.ModuleType):
    def __getattr__(self, n): return "made " + n
sys.modules["__main__"].__class__ = M
import __main__; print(__main__.anything)
