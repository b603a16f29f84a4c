#!/bin/sh
# Run the tests, two files at a time; arguments go to pytest (-n 0: one after another, in this process).
set -eu
"$(dirname -- "$0")/setup.sh" samples dev
CDPATH='' cd -- "$(dirname -- "$0")/.."
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
