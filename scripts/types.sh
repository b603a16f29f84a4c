#!/bin/sh
# Check types, strictly.
set -eu
"$(dirname -- "$0")/setup.sh" samples dev
CDPATH='' cd -- "$(dirname -- "$0")/.."
exec .venv/bin/mypy
