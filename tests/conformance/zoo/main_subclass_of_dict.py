import sys
class D(dict): ...
sys.modules = D(sys.modules)
print("end")
