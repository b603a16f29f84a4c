"""abc.py lies beside the script: what is built in or loaded already goes before it."""
import importlib
m = importlib.import_module("abc")
print(str(getattr(m, "__file__", None)).rsplit("/", 2)[-1], getattr(m, "mine", None))
