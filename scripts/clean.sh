#!/bin/sh
# Remove what setting up, running and testing leave behind, .venv and the record of runs included.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
rm -rf .venv .buildrunner python_output result.zip build dist ./*.egg-info
rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
rm -rf examples/*/.venv examples/*/.cache examples/*/.buildrunner examples/*/python_output examples/*/result.zip
find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
