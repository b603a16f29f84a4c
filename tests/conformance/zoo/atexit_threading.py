import threading, atexit
threading._register_atexit(print, "threading's own")
atexit.register(print, "atexit")
t = threading.Thread(target=lambda: threading.Event().wait(0.02) or print("thread")); t.start()
print("main ends")
