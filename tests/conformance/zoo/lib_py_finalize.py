import ctypes, atexit
atexit.register(print, "atexit")
print(ctypes.pythonapi.Py_IsInitialized())
ctypes.pythonapi.Py_Exit(6)
