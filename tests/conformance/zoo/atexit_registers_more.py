import atexit
def f(n):
    print("f", n)
    if n: atexit.register(f, n - 1)
atexit.register(f, 3)
