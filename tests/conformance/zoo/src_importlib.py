import importlib, importlib.util, sys
print(importlib.util.find_spec("json").origin == __import__("json").__file__)
try: print(importlib.util.find_spec("__main__"))
except ValueError as exc: print(exc)
m = importlib.reload(importlib.import_module("colorsys")); print(m.__name__)
importlib.invalidate_caches()
