import atexit, sys
atexit.register(lambda: print(sys.exc_info(), sys.last_type))
1 / 0
