import os, importlib
os.environ["KEPT"] = "x"
print(len(importlib.reload(os).environ), "KEPT" in os.environ)
