import sys
sys.unraisablehook = lambda a: print("unraisable", a.exc_type, a.exc_value, a.err_msg, a.object.__name__)
class C:
    def __del__(self): 1 / 0
C()
c = C()
