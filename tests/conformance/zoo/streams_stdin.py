import sys, os, stat
print(repr(sys.stdin.read()), sys.stdin.isatty(), stat.S_ISCHR(os.fstat(0).st_mode), os.readlink("/proc/self/fd/0"))
print(list(sys.stdin), sys.stdin.readline() == "")
