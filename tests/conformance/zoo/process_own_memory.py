import os
os.remove("x") if os.path.exists("x") else None
print(os.path.getsize("/proc/self/exe") > 1000, open("/proc/self/personality").read())
