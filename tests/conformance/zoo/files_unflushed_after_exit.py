import sys
f = open("left", "w"); f.write("before the exit"); sys.exit(3)
