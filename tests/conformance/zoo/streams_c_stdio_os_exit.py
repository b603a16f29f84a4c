import ctypes, os
ctypes.CDLL(None).printf(b"from C, lost\n")
os._exit(0)
