import warnings
def f():
    for level in (1, 2, 3, 4, 9):
        warnings.warn(f"level {level}", UserWarning, stacklevel=level)
f()
