import sys
class C:
    def __del__(self): sys.exit(6)
c = C()
del c
print("on")
d = C()
