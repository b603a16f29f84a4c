import threading, os, time
stop = threading.Event()
t = threading.Thread(target=stop.wait); t.start()
pid = os.fork()
if not pid:
    print("child", threading.active_count(), threading.current_thread().name); os._exit(0) if False else None
else:
    os.waitpid(pid, 0); print("parent", threading.active_count()); stop.set()
