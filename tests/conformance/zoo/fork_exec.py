import os
pid = os.fork()
if not pid: os.execvp("sh", ["sh", "-c", "echo from sh; exit 9"])
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
