__file__ = "/no/such.py"
def f(): 1 / 0
f()
