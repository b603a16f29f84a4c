#!/bin/sh
# Run the examples in parallel; arguments go to `buildrunner run`.
set -eu
. "$(dirname -- "$0")/setup.sh"
exec ../../.venv/bin/buildrunner run .cache/examples --recursive --python .venv/bin/python --cwd scratch \
    --timeout 10m "$@"
