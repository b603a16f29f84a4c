import trace
t = trace.Trace(count=1, trace=0)
def f():
    x = 1
    return x
t.runfunc(f); print(sorted(v for v in t.results().counts.values()))
