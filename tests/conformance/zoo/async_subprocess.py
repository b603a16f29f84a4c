import asyncio, sys
async def main():
    p = await asyncio.create_subprocess_exec("echo", "child", stdout=-1)
    print(await p.communicate(), p.returncode)
asyncio.run(main())
