"""A script has no spec."""
print(__spec__, __package__, __name__)
