import os, signal
pid = os.fork()
if not pid: os.kill(os.getppid(), signal.SIGSTOP); os.kill(os.getppid(), signal.SIGCONT); os._exit(0)
os.waitpid(pid, 0); print("went on")
