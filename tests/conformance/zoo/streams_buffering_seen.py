"""stdout is buffered in blocks, stderr is not: seen in the files' sizes."""
import os, sys
print("x" * 10)
a = os.fstat(1).st_size
print("x" * 8000); print("x" * 300)
b = os.fstat(1).st_size
sys.stderr.write("partial"); c = os.fstat(2).st_size
print(a, b, c)
