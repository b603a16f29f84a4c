#!/usr/bin/env bash
# Run the scripts, then say what came of it.
#
#     INPUT_…         the action's inputs, and INPUT_COMMAND, the program to call
#     GITHUB_OUTPUT   gets the action's outputs
#     RUNNER_TEMP     has room for what is needed meanwhile
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
python=$(command -v python3 || command -v python)
cd -- "${INPUT_WORKING_DIRECTORY:-.}"

# split TEXT: its words, as a shell reads quotes, but with nothing expanded or run; they are found in `words`.
split() {
    words=()
    "$python" -I "$here/report.py" words "$1" >"$since" # kept in a file, because a variable holds no NUL
    while IFS= read -r -d '' word; do words+=("$word"); done <"$since"
}

since=$(mktemp "$RUNNER_TEMP/buildrunner.XXXXXX")
events=${INPUT_EVENTS:-}
own_events=
[ -n "$events" ] || own_events=$(mktemp "$RUNNER_TEMP/events.XXXXXX")
events=${events:-$own_events}
junitxml=${INPUT_JUNITXML:-}

split "${INPUT_ARGUMENTS:-}"
for word in ${words[@]+"${words[@]}"}; do
    [ "$word" != -- ] || { echo "::error::arguments may hold no --; words for the scripts belong into script-arguments"; exit 2; }
done
call=("$INPUT_COMMAND" run --jobs "${INPUT_JOBS:-auto}" ${words[@]+"${words[@]}"} --events "$events")
if [ -n "${INPUT_ZIP:-}" ]; then call+=(--zip "$INPUT_ZIP"); else call+=(--no-zip); fi
[ -z "$junitxml" ] || call+=(--junitxml "$junitxml")
while IFS= read -r target; do
    case $target in
    "") ;;
    -*) call+=("./$target") ;;
    *) call+=("$target") ;;
    esac
done <<<"${INPUT_TARGET:-}"
split "${INPUT_SCRIPT_ARGUMENTS:-}"
[ ${#words[@]} -eq 0 ] || call+=(-- "${words[@]}")

# The scripts get the Python of the job, not the one buildrunner was installed into, and nothing of this action.
[ -n "${VIRTUAL_ENV:-}" ] || export BUILDRUNNER_PYTHON="${BUILDRUNNER_PYTHON:-$python}"
unset "${!INPUT_@}"

: >"$since" # what is older than this is not of this run
# A step that is to end gets INT or TERM, and only its shell does: hand it on, and wait for the report and the zip.
"${call[@]}" &
pid=$!
trap 'kill -TERM "$pid" 2>/dev/null || true' INT TERM
while code=0; wait "$pid" || code=$?; kill -0 "$pid" 2>/dev/null; do :; done
trap '' INT TERM
"$python" -I "$here/report.py" outputs "$code" "$events" "$since" "$junitxml" >>"$GITHUB_OUTPUT"
rm -f -- "$since" ${own_events:+"$own_events"}
exit "$code"
