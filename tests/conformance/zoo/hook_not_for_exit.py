import sys
sys.excepthook = lambda *a: print("hook", a)
sys.exit(3)
