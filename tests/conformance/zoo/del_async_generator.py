import sys
async def g():
    try: yield 1
    finally: print("closed")
a = g()
try: a.asend(None).send(None)
except StopIteration as exc: print(exc.value)
