import asyncio
async def main():
    await asyncio.sleep(0.01); print("slept", asyncio.current_task().get_name())
asyncio.run(main())
