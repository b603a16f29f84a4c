import os, sys
print("gone before exec")
sys.stdout.flush()
os.execv(sys.executable, [sys.executable, "-I", "-c", "import sys; print('after', sys.argv); sys.exit(3)", "a"])
