import threading, time
def g(): time.sleep(0.02); print("inner ends")
def f(): time.sleep(0.02); threading.Thread(target=g).start(); print("outer ends")
threading.Thread(target=f).start()
