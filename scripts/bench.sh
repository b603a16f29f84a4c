#!/bin/sh
# Compare one after another with in parallel on the sample scripts; arguments go to `buildrunner bench`.
set -eu
"$(dirname -- "$0")/setup.sh" samples
CDPATH='' cd -- "$(dirname -- "$0")/.."
exec .venv/bin/buildrunner bench python_source "$@"
