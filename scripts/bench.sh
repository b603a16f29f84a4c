#!/bin/sh
# Measure against other tools; arguments go to benchmarks/all.py.
set -eu
"$(dirname -- "$0")/setup.sh" samples
CDPATH='' cd -- "$(dirname -- "$0")/.."
exec .venv/bin/python benchmarks/all.py "$@"
