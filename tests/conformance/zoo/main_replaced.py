"""A script that takes itself out of sys.modules; its globals go as in any module."""
import sys
class Loud:
    def __del__(self): print("gone", name)
name = "by name"
loud = Loud()
del sys.modules["__main__"]
print("end")
