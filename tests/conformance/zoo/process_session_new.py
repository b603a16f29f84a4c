import os
try: os.setsid()
except PermissionError as exc: print(exc)
try: os.setpgid(0, 0); print("own group")
except PermissionError as exc: print(exc)
