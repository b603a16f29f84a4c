"""What Python does when it starts, where somebody has told it to: hooks, handlers and objects every script meets."""

import atexit
import builtins
import codecs
import logging
import sys
import threading
import warnings


class Kept:
    """Held by a module that was there before the script."""

    def __del__(self) -> None:
        sys.stdout.write("kept by what began with Python\n") if sys and sys.stdout else None


atexit.register(print, "registered as Python started")
builtins.began = "with Python"  # type: ignore[attr-defined]
kept = sys.began = Kept()  # type: ignore[attr-defined]
logging.getLogger("began").addHandler(logging.StreamHandler())
codecs.register_error("began", lambda exc: ("?", exc.end))  # type: ignore[attr-defined]
warnings.filterwarnings("always", category=PendingDeprecationWarning)
local = threading.local()
local.value = 1
hook = sys.excepthook
sys.excepthook = lambda *error: (print("hook of the start"), hook(*error))[1]
