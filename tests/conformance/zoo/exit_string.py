import sys
print("out")
sys.exit("a reason: ü")
