import threading
print(threading.current_thread().name, threading.main_thread() is threading.current_thread(), threading.active_count())
t = threading.Thread(target=lambda: print(threading.current_thread().name, threading.main_thread().name))
t.start(); t.join()
print(threading.Thread().name, threading.get_ident() == threading.main_thread().ident, threading.get_native_id() == __import__("os").getpid())
