"""Closes what it has from its worker, down to the last descriptor."""
import os
for fd in range(1000):
    try: os.close(fd)
    except OSError: pass
