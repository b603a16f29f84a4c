import sys, types
class M(types.ModuleType):
    def __del__(self): print("module gone")
sys.modules["__main__"].__class__ = M
m = M("other"); sys.modules["other"] = m; del m
