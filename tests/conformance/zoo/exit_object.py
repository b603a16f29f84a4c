import sys
class C:
    def __str__(self): return "of C"
sys.exit(C())
