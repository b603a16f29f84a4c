"""What the kernel shows of the environment the process began with, and what C's getenv says."""
import ctypes, os
libc = ctypes.CDLL(None); libc.getenv.restype = ctypes.c_char_p
print(libc.getenv(b"BUILDRUNNER_JOB_NAME"), libc.getenv(b"HOME") == os.environb[b"HOME"])
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
names, i = [], 0
while environ[i]:
    names.append(environ[i].split(b"=")[0]); i += 1
print(names == [k for k in os.environb], names)
