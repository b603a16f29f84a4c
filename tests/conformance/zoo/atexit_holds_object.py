import atexit
class C:
    def __del__(self): print("del")
    def method(self): print("method")
atexit.register(C().method)
print("end")
