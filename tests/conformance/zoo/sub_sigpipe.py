import subprocess
print(subprocess.run("yes | head -1", shell=True, capture_output=True))
