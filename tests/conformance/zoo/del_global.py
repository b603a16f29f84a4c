class C:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n, __name__)
a, b = C("a"), C("b")
_c = C("_c")
print("end")
