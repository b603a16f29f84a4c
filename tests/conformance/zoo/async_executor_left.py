import asyncio, time
async def main():
    asyncio.get_running_loop().run_in_executor(None, lambda: (time.sleep(0.05), print("executor")))
asyncio.run(main())
