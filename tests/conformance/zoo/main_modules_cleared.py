import sys
class C:
    def __del__(self): print("del")
c = C()
sys.modules.clear()
