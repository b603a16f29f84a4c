import sys, traceback
sys.excepthook = lambda t, v, tb: print(len(traceback.extract_tb(tb)), traceback.extract_tb(tb))
def f(): raise ValueError
f()
