"""resource.py lies beside the script: it is found before the library."""
import importlib
m = importlib.import_module("resource")
print(str(getattr(m, "__file__", None)).rsplit("/", 2)[-1], getattr(m, "mine", None))
