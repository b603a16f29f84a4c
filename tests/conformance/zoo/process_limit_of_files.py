import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
try:
    files = [open("/dev/null") for _ in range(50)]
except OSError as exc: print(exc)
