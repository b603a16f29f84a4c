import sys, types
class Loud:
    def __del__(self): print("gone", sys and "sys")
loud = Loud()
sys.modules["__main__"] = types.ModuleType("__main__")
print("end")
