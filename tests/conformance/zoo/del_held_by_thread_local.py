import threading
class C:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
local = threading.local()
local.x = C("main")
def f():
    local.x = C("thread")
t = threading.Thread(target=f); t.start(); t.join()
print("end")
