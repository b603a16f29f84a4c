import sys
def hook(*a):
    print("hook", a[0].__name__)
    sys.exit(9)
sys.excepthook = hook
1 / 0
