import sys
def h(e, a):
    if e.startswith("gc."): raise RuntimeError("no")
sys.addaudithook(h)
