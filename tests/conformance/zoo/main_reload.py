"""A script cannot be reloaded: it has no spec."""
import importlib, sys
importlib.reload(sys.modules["__main__"])
