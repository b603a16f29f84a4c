open("bad.py", "w").write("def f(:\n")
import importlib; importlib.invalidate_caches()
import bad
