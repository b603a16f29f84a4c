import os, threading
threading.Thread(target=os._exit, args=(4,)).start()
import time
time.sleep(20)
