import os, subprocess, sys
os.environ["NEW"] = "ü"; del os.environ["TZ"]
print(subprocess.run(["sh", "-c", "echo $NEW [$TZ] $BUILDRUNNER_JOB_NAME"], capture_output=True).stdout)
child = subprocess.run(["env", "-0"], capture_output=True).stdout.split(b"\0")
print(sorted(line.split(b"=")[0] for line in child))
