import curses
try: curses.setupterm("no-such-terminal")
except curses.error as exc: print(exc)
curses.wrapper(print)
