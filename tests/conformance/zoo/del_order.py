class C:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
z = C("z")
_private = C("_private")
a = C("a")
__dunder = C("__dunder")
z2 = z
def f(x=C("default")): ...
class D:
    attr = C("class attribute")
l = [C("in list 1"), C("in list 2")]
d = {"k": C("in dict")}
