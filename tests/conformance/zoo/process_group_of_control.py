print(len(open("/proc/self/cgroup").readlines()), sorted(line.split(":")[1] for line in open("/proc/self/cgroup")))
