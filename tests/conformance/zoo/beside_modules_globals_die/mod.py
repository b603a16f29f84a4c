import sys
class C:
    def __init__(self, n): self.n = n
    def __del__(self): print('del', self.n, sys)
a = C('a'); _b = C('_b')
def f(): return a
kept = f
