"""A module written a moment ago is found after the caches were told."""
import importlib
try: import made
except ImportError as exc: print(exc)
open("made.py", "w").write("value = 5\n")
importlib.invalidate_caches()
import made
print(made.value)
