import sys
print(sys.stdout.tell(), sys.stdout.buffer.tell(), sys.stdin.buffer.tell())
print(sys.stdout.tell(), sys.stdout.truncate if False else "")
