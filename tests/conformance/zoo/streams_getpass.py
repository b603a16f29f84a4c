import getpass
print(getpass.getuser())
try: getpass.getpass(stream=None)
except BaseException as exc: print(type(exc))
