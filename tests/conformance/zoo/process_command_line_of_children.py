import os, subprocess
print(subprocess.run(["sh", "-c", "tr '\\0' ' ' < /proc/$PPID/cmdline; cat /proc/$PPID/comm"], capture_output=True).stdout)
