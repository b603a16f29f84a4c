import sys
def hook(a): raise RuntimeError("in hook")
sys.unraisablehook = hook
class C:
    def __del__(self): raise ValueError("v")
C()
