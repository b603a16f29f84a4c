"""
>>> 1 + 1
2
>>> f(2)
5
"""
def f(x):
    """
    >>> f(1)
    2
    >>> f("a")
    Traceback (most recent call last):
    TypeError: can only concatenate str (not "int") to str
    """
    return x + 1
import doctest
print(doctest.testmod())
