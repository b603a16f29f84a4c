import ctypes
libc = ctypes.CDLL(None)
libc.printf(b"from C, unflushed\n")
print("from Python")
