import os, subprocess
subprocess.run([os.sys.executable, "-c", "sum(range(10**6))"])
t = os.times(); print(t.children_user > 0, t.user < 5)
