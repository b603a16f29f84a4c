import atexit, threading, logging
atexit._clear()
logging.getLogger().error("logged")
print("end")
