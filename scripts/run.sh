#!/bin/sh
# Run the sample scripts in parallel; arguments go to `buildrunner run`.
set -eu
"$(dirname -- "$0")/setup.sh" samples
CDPATH='' cd -- "$(dirname -- "$0")/.."
exec .venv/bin/buildrunner run python_source "$@"
