import sys
sys.unraisablehook = lambda a: sys.exit(4)
class C:
    def __del__(self): 1 / 0
c = C(); del c; print("on")
d = C()
