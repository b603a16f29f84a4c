import os
print(open(f"/proc/self/task/{os.getpid()}/children").read() == "")
try: os.wait()
except ChildProcessError as exc: print(exc)
