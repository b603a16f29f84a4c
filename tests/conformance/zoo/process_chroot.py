import os
try: os.chroot("."); print(os.listdir("/"))
except PermissionError: print("not root")
1 / 0
