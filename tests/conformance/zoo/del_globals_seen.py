"""What a finalizer still finds of its module."""
import sys
class C:
    def __del__(self): print(sys, later, sorted(k for k, v in globals().items() if v is None))
c = C()
later = 1
