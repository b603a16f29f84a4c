import _thread, time
done = _thread.allocate_lock(); done.acquire()
class Release:
    def __del__(self): done.release()
def f(r): 1 / 0
_thread.start_new_thread(f, (Release(),))
done.acquire(timeout=5)
time.sleep(0.05)
