import os, sys
saved = os.dup(1)
os.dup2(2, 1)
print("to stderr"); sys.stdout.flush()
os.dup2(saved, 1)
print("back")
