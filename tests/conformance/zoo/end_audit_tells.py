import sys
def h(e, a): sys.stdout.write(e + "\n"); sys.stdout.flush()
sys.addaudithook(h)
