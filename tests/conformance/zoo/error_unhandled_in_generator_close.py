def g():
    try: yield
    finally: raise ValueError("in close")
a = g(); next(a)
