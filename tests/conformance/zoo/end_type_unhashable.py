class M(type):
    def __eq__(self, o): return True
class A(metaclass=M): pass
a=[A()]
