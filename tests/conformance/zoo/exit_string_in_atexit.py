import atexit, sys
atexit.register(sys.exit, "from atexit")
sys.exit(3)
