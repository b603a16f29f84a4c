"""`python -m buildrunner`, and the `buildrunner` command itself."""

import gc
import sys


def main() -> None:
    """Load the command line and run it."""
    # Loading makes very many objects and no garbage; looking for it there takes a third of the time until the first
    # script starts.
    gc.set_threshold(100_000)
    if __name__ == "__main__" and not sys.flags.safe_path:
        del sys.path[0]  # -m put the working directory there, and a script in it may be called json.py
    try:
        from buildrunner.cli import main as run

        run()
    except KeyboardInterrupt:  # before anything was ready to handle it
        sys.exit(130)


if __name__ == "__main__":
    main()
