import asyncio
async def fail(): raise ValueError("unretrieved")
async def main():
    t = asyncio.create_task(fail(), name="fails"); await asyncio.sleep(0.01)
asyncio.run(main())
