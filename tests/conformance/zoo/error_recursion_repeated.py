def f(): g()
def g(): f()
import sys
sys.tracebacklimit = 4
f()
