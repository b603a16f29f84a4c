import ctypes, signal
libc = ctypes.CDLL(None)
print(libc.prctl(1, signal.SIGKILL), libc.prctl(4, 1), libc.prctl(36, 1))
