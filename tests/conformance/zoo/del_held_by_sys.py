import sys
class C:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
sys.held = C("sys")
sys.path.append(C("path"))
sys.ps1 = C("ps1")
sys.last_value = C("last")
