import os, sys
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
print("out")
1 / 0
