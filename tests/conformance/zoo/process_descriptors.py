import os
for name in sorted(os.listdir("/proc/self/fd"), key=int):
    try: print(name, os.readlink(f"/proc/self/fd/{name}").rsplit("/", 1)[-1], os.get_inheritable(int(name)))
    except OSError as exc: print(name, exc.strerror)
