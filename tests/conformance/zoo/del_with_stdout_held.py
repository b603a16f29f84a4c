import sys
class C:
    def __init__(self): self.out = sys.stdout
    def __del__(self): self.out.write("by my own stdout\n")
c = C()
sys.held = C()
