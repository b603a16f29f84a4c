class C:
    def __init__(self, n): self.n = n
    def __del__(self): raise ValueError(self.n)
a = C("a")
def f(x=C("default")): ...
print("end")
