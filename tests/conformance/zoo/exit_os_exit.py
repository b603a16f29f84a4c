import os, atexit
atexit.register(print, "never")
print("unflushed")
print("flushed", flush=True)
os._exit(7)
