import os, signal, time
got = []
signal.signal(signal.SIGCHLD, lambda n, f: got.append(n))
pid = os.fork()
if not pid: os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])); time.sleep(0.05); print(got)
