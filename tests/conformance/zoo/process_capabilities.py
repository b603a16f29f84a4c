import os
print(os.getuid(), os.geteuid(), os.getgroups(), os.getresgid())
