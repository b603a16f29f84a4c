class M(type):
    def __del__(cls): print("del class", cls.__name__)
class A(metaclass=M): __slots__ = ("x",)
class B(A): ...
