import sys
def trace(*a): sys.exit(21)
sys.settrace(trace)
def f(): ...
f()
