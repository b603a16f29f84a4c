import os, sys
print("x", file=sys.stderr)
os.close(2)
1 / 0
