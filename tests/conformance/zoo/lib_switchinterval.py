import sys
sys.setswitchinterval(0.5); print(sys.getswitchinterval())
