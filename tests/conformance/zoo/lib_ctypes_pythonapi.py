import ctypes
api = ctypes.pythonapi
print(api.Py_IsInitialized(), ctypes.c_int.in_dll(api, "Py_OptimizeFlag").value, ctypes.c_int.in_dll(api, "Py_UnbufferedStdioFlag").value)
api.Py_GetProgramName.restype = ctypes.c_wchar_p; print(api.Py_GetProgramName().rsplit("/")[-1])
