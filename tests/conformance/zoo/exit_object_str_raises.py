import sys
class C:
    def __str__(self): raise ValueError("no string")
sys.exit(C())
