import sys, atexit
atexit.register(lambda: sys.exit(1)); atexit.register(lambda: sys.exit(2))
sys.exit(3)
