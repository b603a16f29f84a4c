import ctypes
libc = ctypes.CDLL(None)
print(libc.personality(0xffffffff), libc.prctl(1, 0, 0, 0, 0), libc.prctl(3, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0))
import array
v = ctypes.c_int(); libc.prctl(2, ctypes.byref(v), 0, 0, 0); print("parent death signal", v.value)
v = ctypes.c_int(); libc.prctl(37, ctypes.byref(v), 0, 0, 0); print("subreaper", v.value)
