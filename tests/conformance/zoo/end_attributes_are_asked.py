class M(type):
    def __getattribute__(self, n): print("meta asked", n); return type.__getattribute__(self, n)
class A(metaclass=M):
    def __getattribute__(self, n): print("asked", n); return object.__getattribute__(self, n)
a = [A()]
