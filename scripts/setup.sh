#!/bin/sh
# Make .venv beside the Makefile hold this project (editable) and the extras named as arguments:
#
#     scripts/setup.sh samples        what the sample scripts need
#     scripts/setup.sh samples dev    and what tests, lint and types need
#
# PYTHON names the interpreter to build .venv with; pip's own environment variables are pip's to read.
# Nothing is done, quickly, when the stamps in .venv say that nothing has changed.
set -eu

# Debian packages the tests need besides Python, separated by blanks.
test_packages="gcc libc6-dev openssh-sftp-server sshfs strace"

case ${PYTHON:-} in
/* | "") ;;
*/*) PYTHON=$PWD/$PYTHON ;; # relative to where the user is
esac
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd -- "$root"
venv=.venv
half_made=$venv/.half-made # there from the first moment of making .venv until it works

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# What an interpreter is: its version and its home, the same for a .venv and for what it was made with.
# Fails for what is no Python, or one too old.
identity() {
    answer=$("$1" -I -S -c 'import sys
if sys.version_info < (3, 11): sys.exit(1)
print("Python", *sys.version_info[:3], sys.base_exec_prefix)' 2>/dev/null) || return 1
    case $answer in
    "Python "*) printf '%s\n' "$answer" ;;
    *) return 1 ;;
    esac
}

find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
        case $(command -v "$candidate") in
        "$root/$venv/"*) continue ;; # it may be about to be replaced
        esac
        if identity "$candidate" >/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
        [ "$candidate" != "${PYTHON:-}" ] || say "PYTHON=$PYTHON is no Python 3.11 or newer; looking for another."
    done
    die "buildrunner needs Python 3.11 or newer; none of \$PYTHON, python3, python3.13, python3.12 and python3.11 is." \
        "Install one, or name it: PYTHON=/path/to/python"
}

# Whether .venv is whole, was set up in this place, and is of the Python that was asked for, if any was.
venv_works() {
    [ ! -e "$half_made" ] && [ -x $venv/bin/python ] || return 1
    made_with=$(identity $venv/bin/python) || return 1
    for stamp in $venv/.installed-*; do
        [ ! -f "$stamp" ] || [ "$(head -n 1 "$stamp")" = "$root" ] || return 1
    done
    [ -n "${PYTHON:-}" ] || return 0
    wanted=$(identity "$PYTHON") || return 0 # an unusable PYTHON is passed over
    [ "$wanted" = "$made_with" ]
}

# install_packages NAME...: the Debian packages that are missing; fails when they cannot be installed from here.
install_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    say "Installing$missing ..."
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of names
    apt-get install -y -qq $missing >/dev/null 2>&1 </dev/null ||
        { apt-get update -qq >&2 && apt-get install -y -qq $missing >/dev/null; } </dev/null
}

# Debian keeps the part of Python that puts pip into a new environment in a package of its own.
need_ensurepip() {
    "$1" -I -c 'import ensurepip, venv' 2>/dev/null && return
    remedy="Name another with PYTHON=/path/to/python."
    if [ "$("$1" -I -c 'import sys; print(sys.base_prefix)')" = /usr ] && command -v dpkg-query >/dev/null; then
        package=$("$1" -I -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if install_packages "$package" && "$1" -I -c 'import ensurepip, venv' 2>/dev/null; then
            return
        fi
        remedy="Install the package $package (sudo apt-get install $package)."
    fi
    die "$(command -v "$1") cannot make virtual environments: its ensurepip is missing. $remedy"
}

make_venv() {
    python=$(find_python)
    need_ensurepip "$python"
    if [ -e $venv ] || [ -L $venv ]; then
        say "Replacing .venv: it is half-made, broken, from another place or of another Python."
        rm -rf $venv
    fi
    mkdir $venv
    : >"$half_made"
    say "Making .venv with $("$python" -V) ..."
    log=$("$python" -m venv $venv 2>&1) || die "$log"
    $venv/bin/python -m pip --version >/dev/null || die "The pip in .venv does not work."
    rm "$half_made"
    made_with=$(identity $venv/bin/python)
}

# Whether each extra was installed from what the project is now; leaves in $now what the stamps must say.
up_to_date() {
    now=$(printf '%s\n' "$root" "$made_with" "$(cksum <pyproject.toml)" "$test_packages")
    for extra in "$@"; do
        stamp=$venv/.installed-$extra
        [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] || return 1
    done
}

[ $# -gt 0 ] || set -- samples
if venv_works && up_to_date "$@"; then
    exit 0
fi

# One at a time; whoever waited finds the work done.
if command -v flock >/dev/null; then
    exec 9<pyproject.toml
    flock 9
fi
venv_works || make_venv
if up_to_date "$@"; then
    exit 0
fi

case " $* " in
*" dev "*)
    # shellcheck disable=SC2086 # a list of names
    install_packages $test_packages ||
        say "Not installed, so some tests will be skipped (each says for want of what):$missing"
    ;;
esac
extras=$(printf '%s,' "$@")
extras=${extras%,}
say "Installing buildrunner [$extras] into .venv ..."
$venv/bin/python -m pip install --quiet --editable ".[$extras]" </dev/null >&2 ||
    die "pip could not install buildrunner [$extras]; its message is above."
for extra in "$@"; do
    printf '%s\n' "$now" >"$venv/.installed-$extra"
done
