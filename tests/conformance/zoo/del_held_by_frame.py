class C:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
def f():
    local = C("local")
    raise ValueError("v")
f()
