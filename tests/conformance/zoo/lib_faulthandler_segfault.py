import faulthandler, ctypes, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
faulthandler.enable()
ctypes.string_at(0)
