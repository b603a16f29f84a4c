def f():
    class Inner(Exception): ...
    raise Inner("x")
f()
