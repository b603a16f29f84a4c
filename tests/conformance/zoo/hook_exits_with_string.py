import sys
def hook(t, v, tb): raise SystemExit("from the hook")
sys.excepthook = hook
raise ValueError
