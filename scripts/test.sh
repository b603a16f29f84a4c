#!/bin/sh
# Run the tests; arguments go to pytest.
set -eu
"$(dirname -- "$0")/setup.sh" samples dev
CDPATH='' cd -- "$(dirname -- "$0")/.."
exec .venv/bin/python -m pytest "$@"
