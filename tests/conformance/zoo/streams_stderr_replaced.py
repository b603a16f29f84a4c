import sys
class Err:
    def write(self, s): sys.__stdout__.write(f"<{s}>")
    def flush(self): print("flushed")
sys.stderr = Err()
1 / 0
