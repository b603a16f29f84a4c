import os, sys, signal
print(os.listdir("."), sys.path[0] == os.getcwd(), len(os.listdir("/proc/self/fd")), signal.getsignal(signal.SIGCHLD))
