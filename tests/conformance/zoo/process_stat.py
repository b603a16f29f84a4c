import os
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
print(fields[0], int(fields[1]) == os.getppid(), int(fields[2]) == os.getpid(), int(fields[3]) == os.getpid(), fields[4], fields[5])
print("priority", fields[15], "nice", fields[16], "threads", fields[17])
