def g():
    while True:
        try: yield
        except GeneratorExit: print("no")
        if done: return
done = False
a = g(); next(a)
