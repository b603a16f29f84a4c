class C:
    def __del__(self): print("del")
c = C()
c.f = lambda: c
def g(): return c
