import builtins
real = builtins.__import__
def spy(name, *a, **k):
    print("import", name)
    return real(name, *a, **k)
builtins.__import__ = spy
import keyword
from string import ascii_letters
