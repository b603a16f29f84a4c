import threading, time
def f(): time.sleep(0.05); print("thread ends", flush=True)
threading.Thread(target=f).start()
1 / 0
