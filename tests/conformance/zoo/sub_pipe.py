import subprocess
print(subprocess.run(["cat"], input="text", text=True, capture_output=True))
print(subprocess.getoutput("echo $0; ulimit -n >/dev/null && echo ok"))
