import atexit, sys
atexit.register(setattr, sys, "unraisablehook", lambda a: print("hook", a.exc_type))
class C:
    def __del__(self): 1 / 0
c = C()
