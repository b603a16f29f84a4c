import ctypes
libc = ctypes.CDLL(None)
F = ctypes.CFUNCTYPE(None)
libc.puts(b"puts")
exit_now = libc.exit
exit_now(5)
