def g():
    try:
        yield 1
    finally:
        print("finally", __name__)
a = g(); next(a)
print("end")
