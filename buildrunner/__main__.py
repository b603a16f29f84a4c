"""`python -m buildrunner` is the `buildrunner` command."""

from buildrunner.cli import main

if __name__ == "__main__":
    main()
