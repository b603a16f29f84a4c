import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
f = open("left", "w"); f.write("x" * 1000)
