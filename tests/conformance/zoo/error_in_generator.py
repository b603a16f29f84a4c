def g():
    try:
        yield 1 / 0
    finally:
        print("closed")
next(g())
