import asyncio
async def main(): raise KeyError("x")
asyncio.run(main(), debug=True)
