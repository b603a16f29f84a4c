import contextvars
class C:
    def __del__(self): print("del")
v = contextvars.ContextVar("v")
v.set(C())
print("end")
