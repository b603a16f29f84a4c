import sys
class Out:
    def write(self, s): return sys.__stdout__.write(s)
    def flush(self): raise ValueError("no flush")
sys.stdout = Out()
print("x")
