import sys
lines = []
def trace(frame, event, arg):
    lines.append((event, frame.f_code.co_name, frame.f_lineno))
    return trace
sys.settrace(trace)
def f():
    return 1
f()
sys.settrace(None)
print(lines)
