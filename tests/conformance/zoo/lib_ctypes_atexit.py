"""A finalizer in C, by Py_AtExit, runs at the very end."""
import ctypes
F = ctypes.CFUNCTYPE(None)
libc = ctypes.CDLL(None)
print(ctypes.pythonapi.Py_AtExit(ctypes.cast(libc.abs, ctypes.c_void_p)))
