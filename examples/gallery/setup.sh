#!/bin/sh
# What run.sh and compare.sh begin with: buildrunner's own .venv, and beside this file .venv from requirements.txt
# and .cache with Debian's examples and all that their libraries would otherwise keep in the home folder. They source
# it, to find themselves in this folder with the environment that the examples run in. The second time it is quick.
#
# PYTHON names the interpreter to use, if it is one that scikit-learn 1.2.2 comes built for: 3.8 to 3.11.
set -eu

case ${PYTHON:-} in
/* | "") ;;
*/*) export PYTHON="$PWD/$PYTHON" ;; # relative to where the user is
esac
cd -- "$(dirname -- "$0")"
here=$(pwd -P)
cache=$here/.cache
venv=$here/.venv

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# as_version PYTHON: the version, when scikit-learn 1.2.2 comes built for it.
as_version() {
    "$1" -I -S -c 'import sys
print("Python %d.%d.%d" % sys.version_info[:3])
sys.exit(not (3, 8) <= sys.version_info < (3, 12))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.10 python3.9 python3.8; do
        if as_version "$candidate" >/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
        seen=$(as_version "$candidate") || [ -z "$seen" ] || say "$candidate is $seen: not for scikit-learn 1.2.2."
    done
    die "The examples need scikit-learn 1.2.2, which exists for Python 3.8 to 3.11 only, and none of those is here." \
        "Install python3.11 beside your own, or name one: PYTHON=/path/to/python3.11"
}

make_venv() {
    now=$(printf '%s\n' "$here" "$(cksum <requirements.txt)")
    if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$now" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    python=$(find_python)
    say "Making the examples' own environment with $(as_version "$python") (a minute or two, 700 MB) ..."
    rm -rf "$venv"
    log=$("$python" -m venv "$venv" 2>&1) || die "$log"
    # Built packages only: compiling scikit-learn and SciPy takes an hour and a Fortran compiler.
    "$venv/bin/python" -m pip install --quiet --only-binary :all: -r requirements.txt </dev/null >&2 ||
        die "pip could not install what requirements.txt names; its message is above."
    # Else the first scripts would each look through all fonts of the machine.
    MPLCONFIGDIR=$cache/matplotlib "$venv/bin/python" -c 'import matplotlib.font_manager'
    printf '%s\n' "$now" >"$venv/.installed"
}

# apt-get with package lists of our own, so that it needs no rights and leaves the system's alone.
own_apt() {
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
    apt-get -qq -o Dir::State::Lists="$cache/apt/lists" -o Dir::Cache="$cache/apt" -o APT::Sandbox::User="" "$@"
}

# The package, from the system's lists if they name it. A .deb that lies in .cache already is taken as it is.
fetch_package() {
    ls python-sklearn-doc_1.2.*.deb >/dev/null 2>&1 && return
    command -v apt-get >/dev/null || return 1
    say "Fetching Debian's python-sklearn-doc (50 MB) ..."
    apt-get -qq download 'python-sklearn-doc=1.2.*' >/dev/null 2>&1 </dev/null && return
    { own_apt update && own_apt download 'python-sklearn-doc=1.2.*'; } </dev/null >&2
}

get_examples() {
    [ ! -d "$cache/examples" ] || return 0
    cd "$cache"
    fetch_package || die "Could not fetch the package python-sklearn-doc 1.2, which Debian 12 has." \
        "Put its .deb into $cache and try again."
    rm -rf unpacked
    for package in python-sklearn-doc_1.2.*.deb; do
        dpkg -x "$package" unpacked || die "$cache/$package is damaged; remove it and try again."
    done
    mv unpacked/usr/share/doc/python-sklearn-doc/examples examples
    rm -rf unpacked apt
}

../../scripts/setup.sh samples
mkdir -p "$cache"
(
    ! command -v flock >/dev/null || flock 9 # one at a time; whoever waited finds the work done
    make_venv
    get_examples
) 9<requirements.txt

# A picture for every show(), and nothing outside of this folder.
export MPLBACKEND=module://saving_backend PYTHONPATH="$here"
export MPLCONFIGDIR="$cache/matplotlib" SCIKIT_LEARN_DATA="$cache/data" XDG_CACHE_HOME="$cache/xdg"
