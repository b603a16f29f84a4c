import asyncio
import warnings; warnings.simplefilter("always")
loop = asyncio.new_event_loop()
loop.run_until_complete(asyncio.sleep(0))
