import sys, threading, time
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
sys.exit(6)
