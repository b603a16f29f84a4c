import os
print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), os.getpgid(os.getppid()) == os.getpgrp(), os.getppid() > 1)
