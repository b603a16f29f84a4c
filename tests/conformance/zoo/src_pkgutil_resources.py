import pkgutil, importlib.resources, importlib.metadata
try: print(pkgutil.get_data("__main__", "x"))
except OSError as exc: print(type(exc))
print([m.name for m in pkgutil.iter_modules(["."])], pkgutil.get_loader("__main__") if False else "")
print(importlib.metadata.version("pip") > "1")
