import sys
def trace(frame, event, arg):
    print(event, frame.f_code.co_name, frame.f_lineno)
    return trace
def f(): return 1
class C:
    def __del__(self): print("del")
c = C()
sys.settrace(trace)
f()
