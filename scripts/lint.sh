#!/bin/sh
# Check style and formatting.
set -eu
"$(dirname -- "$0")/setup.sh" samples dev
CDPATH='' cd -- "$(dirname -- "$0")/.."
set --
for path in buildrunner tests individual_test.py python_source benchmarks docs examples; do
    [ ! -e "$path" ] || set -- "$@" "$path"
done
.venv/bin/ruff check "$@"
.venv/bin/ruff format --check "$@"
