"""A handler of C's own exit: what it prints after the interpreter is gone."""
import ctypes
libc = ctypes.CDLL(None)
try:
    libc.on_exit(ctypes.cast(libc.fflush, ctypes.c_void_p), None)
    libc.printf(b"kept by C until its exit\n")
except AttributeError as exc: print(exc)
