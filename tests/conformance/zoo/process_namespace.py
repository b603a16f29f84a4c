import os
try: os.unshare(0x4000000) if hasattr(os, "unshare") else print("no unshare")
except PermissionError: print("not root")
