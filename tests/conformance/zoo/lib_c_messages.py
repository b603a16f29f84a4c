import ctypes
libc = ctypes.CDLL(None)
libc.warnx(b"err")
try: libc.no_such_symbol
except AttributeError as exc: print(exc)
