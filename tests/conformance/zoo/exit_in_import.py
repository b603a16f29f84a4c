import sys, builtins
real = __import__
builtins.__import__ = lambda *a, **k: sys.exit("no imports") if a[0] == "keyword" else real(*a, **k)
import keyword
