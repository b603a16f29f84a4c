#!/usr/bin/env bash
# Install buildrunner into an environment of its own, so that it changes nothing of the Python the scripts get.
#
#     INPUT_INSTALL   what pip installs: empty for this repository; none for the buildrunner on PATH
#     GITHUB_OUTPUT   gets `command`, the program to call
set -euo pipefail

if [ "${INPUT_INSTALL:-}" = none ]; then
    command=$(command -v buildrunner) || {
        echo "::error::install is none, but there is no buildrunner on PATH"
        exit 2
    }
    printf 'command=%s\n' "$command" >>"$GITHUB_OUTPUT"
    exit 0
fi

what=${INPUT_INSTALL:-$(cd -- "$GITHUB_ACTION_PATH/../../.." && pwd -P)}
python=$(command -v python3 || command -v python) || {
    echo "::error::there is no Python: set the input python-version"
    exit 2
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "::error::buildrunner needs Python 3.11 or newer: set the input python-version"
    exit 2
}
venv=$RUNNER_TEMP/buildrunner-venv
"$python" -m venv "$venv"
touch "$venv/buildrunner-alone" # scripts get the Python on PATH, not this one
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -- "$what"
printf 'command=%s\n' "$venv/bin/buildrunner" >>"$GITHUB_OUTPUT"
