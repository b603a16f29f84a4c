def f(x):
    import __main__
    return x, __main__.__name__, getattr(__main__, 'flag', None)
