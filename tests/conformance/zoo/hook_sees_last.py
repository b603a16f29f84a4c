import sys
def hook(t, v, tb):
    print(hasattr(sys, "last_value"), sys.last_value is v, sys.last_traceback is tb, sys.exc_info())
sys.excepthook = hook
1 / 0
