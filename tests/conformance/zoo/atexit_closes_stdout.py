import atexit, sys
atexit.register(sys.stdout.close)
print("written")
