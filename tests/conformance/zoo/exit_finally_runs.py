import sys
try:
    sys.exit(8)
finally:
    print("finally")
