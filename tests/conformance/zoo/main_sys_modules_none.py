import sys
sys.modules["__main__"] = None
print("end"); 1 / 0
