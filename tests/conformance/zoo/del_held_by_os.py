import os
class C:
    def __del__(self): os.write(1, b"del\n")
os.held = C()
