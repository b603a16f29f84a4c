import asyncio, os, signal
async def main():
    try:
        os.kill(os.getpid(), signal.SIGINT); await asyncio.sleep(5)
    finally: print("cleaned")
asyncio.run(main())
