import gc
class C:
    def __init__(self, n): self.n = n; self.me = self
    def __del__(self): print("del", self.n)
gc.disable()
a = C("a")
C("unreachable")
print("end")
