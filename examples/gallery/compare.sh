#!/bin/sh
# Time the whole run against xargs; arguments go to compare.py.
set -eu
. "$(dirname -- "$0")/setup.sh"
exec ../../.venv/bin/python compare.py "$@"
