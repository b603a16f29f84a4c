"""Objects in modules die at the end, in their order, and print."""
import mod
class D:
    def __del__(self): print("del main", mod)
d = D()
held = mod.C("held by main")
