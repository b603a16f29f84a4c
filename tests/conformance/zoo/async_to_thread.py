import asyncio, threading
print(asyncio.run(asyncio.to_thread(lambda: threading.current_thread().name)))
