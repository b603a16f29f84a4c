import threading
def hook(a): print("thread hook", a.exc_type, a.exc_value, a.thread.name)
threading.excepthook = hook
t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()
