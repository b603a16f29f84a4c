import sys
def f(n): return f(n + 1)
try:
    f(0)
except RecursionError as exc:
    print(type(exc), exc)
f(0)
