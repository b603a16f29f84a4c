"""The docstring: üöä
over two lines."""
print(repr(__doc__))
