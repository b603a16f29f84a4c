import asyncio
async def never(): await asyncio.Event().wait()
loop = asyncio.new_event_loop()
task = loop.create_task(never(), name="never")
loop.call_soon(loop.stop); loop.run_forever()
