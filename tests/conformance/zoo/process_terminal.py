import os
try: os.open("/dev/tty", os.O_RDWR)
except OSError as exc: print(exc)
for f in (os.ctermid, os.getlogin):
    try: print(f())
    except OSError as exc: print(exc)
try: print(os.get_terminal_size())
except OSError as exc: print(exc)
