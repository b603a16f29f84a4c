import os, signal, time
import atexit
atexit.register(print, "atexit runs")
os.kill(os.getpid(), signal.SIGINT)
time.sleep(5)
