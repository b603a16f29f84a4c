#!/bin/sh
# Take out every guard of tests/guards.py in a copy, one by one, and see its test fail; arguments choose among them.
set -eu
"$(dirname -- "$0")/setup.sh" samples dev
CDPATH='' cd -- "$(dirname -- "$0")/.."
exec .venv/bin/python tests/guards.py "$@"
