import resource
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
x = bytearray(1 << 30)
