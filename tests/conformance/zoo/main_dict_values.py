"""And what they are."""
print({k: v if k != "__builtins__" else type(v) for k, v in dict(globals()).items()})
import builtins
print(__builtins__ is builtins)
