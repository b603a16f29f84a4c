import subprocess
print(subprocess.run(["grep", "^Sig[BIC]", "/proc/self/status"], capture_output=True).stdout)
print(subprocess.run(["grep", "^Sig[BIC]", "/proc/self/status"], capture_output=True, restore_signals=False).stdout)
