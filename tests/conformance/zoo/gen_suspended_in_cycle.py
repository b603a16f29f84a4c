def g():
    me = yield
    try:
        yield
    finally:
        print("finally", me is not None)
a = g(); next(a); a.send(a)
del a
print("end")
