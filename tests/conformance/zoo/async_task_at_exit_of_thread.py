import asyncio, threading
def f(): asyncio.run(asyncio.sleep(0.02)); print("loop in thread ended")
threading.Thread(target=f).start()
