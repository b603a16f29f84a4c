class C:
    def __init__(self, n): self.n = n
    def __del__(self):
        print("del", self.n)
        if self.n: globals()["more%d" % self.n] = C(self.n - 1)
c = C(3)
