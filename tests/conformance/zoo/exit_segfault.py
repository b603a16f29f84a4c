import ctypes, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print("unflushed")
ctypes.string_at(0)
