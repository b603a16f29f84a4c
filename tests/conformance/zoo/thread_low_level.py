import _thread, time
lock = _thread.allocate_lock(); lock.acquire()
def f(): print("low"); lock.release()
_thread.start_new_thread(f, ())
lock.acquire()
print(_thread._count(), _thread.stack_size())
