import os, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print("unflushed")
os.abort()
