import subprocess, warnings
warnings.simplefilter("always")
subprocess.Popen(["sleep", "30"])
