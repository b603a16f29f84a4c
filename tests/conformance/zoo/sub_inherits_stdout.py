import subprocess, sys
print("unflushed")
subprocess.run(["echo", "from child"])
subprocess.run([sys.executable, "-c", "import sys; print('python child', sys.argv); sys.exit('bye')"])
