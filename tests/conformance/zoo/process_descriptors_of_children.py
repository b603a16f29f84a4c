import os, subprocess
print(subprocess.run(["ls", "/proc/self/fd"], capture_output=True, close_fds=False).stdout)
