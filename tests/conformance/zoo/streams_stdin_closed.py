import sys
sys.stdin.close()
try: input()
except ValueError as exc: print(exc)
