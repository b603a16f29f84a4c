"""The scripts of a point, drawn by seed. Each says on its own, by lines in a witness file of its own, what it did.

The witness is outside the program's code: `start ATTEMPT PID` is a script's first act and `end ATTEMPT PID` its last,
each one write(2) to a file opened to append. What a script prints and puts into its output folder names its attempt.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SH = """\
w() {{ echo "$1 $BUILDRUNNER_ATTEMPT_ID $$" >> {witness}; }}
w start
echo "of $BUILDRUNNER_ATTEMPT_ID"
{body}
w end
exit {code}
"""

_PY = """\
import os, sys, time
book = os.open({witness!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
attempt, out = os.environ["BUILDRUNNER_ATTEMPT_ID"], os.environ["BUILDRUNNER_OUTPUT_DIR"]
def w(word): os.write(book, f"{{word}} {{attempt}} {{os.getpid()}}\\n".encode())
w("start")
print("of", attempt, flush=True)
{body}
w("end")
sys.exit({code})
"""

# Goes on for long where nobody is left who waits for it: a script that is not ended with its worker is found.
_UNLESS_ORPHANED = """
read -r _ _ _ parent _ </proc/$$/stat
[ "$parent" = "$PPID" ] || sleep 600"""

_DAEMON_PY = """\
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    os.closerange(0, 256)
    time.sleep(600)
    os._exit(0)
time.sleep(0.1)
"""

_CHILD_PY = """\
if os.fork() == 0:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
    os._exit(0)
time.sleep(0.1)
"""

_FILES_PY = """\
os.mkdir(out + "/below")
for number in range({count}):
    where = f"{{out}}/{{'below/' if number % 2 else ''}}{{number}}"
    with open(where, "w") as file: file.write("of " + attempt + "\\n" * {size})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of script: what it does between its two lines, how it ends, and what is to be known of it afterwards."""

    name: str
    suffix: str
    body: Callable[[random.Random], str]
    code: str = "0"
    passes: bool = True
    files: bool = False
    leaves_daemon: bool = False


def _text(text: str) -> Callable[[random.Random], str]:
    return lambda draw: text


KINDS = (
    Kind(name="quick", suffix="sh", body=_text(":")),
    Kind(name="files", suffix="sh", files=True,
         body=_text('echo "of $BUILDRUNNER_ATTEMPT_ID" > "$BUILDRUNNER_OUTPUT_DIR/one"')),
    Kind(name="fails", suffix="sh", body=_text("echo no >&2"), code="3", passes=False),
    # Fails the first time it is run to its end.
    Kind(name="flaky", suffix="sh", body=_text(":"), code='$((BUILDRUNNER_ATTEMPT_NUMBER == 1))'),
    Kind(name="child", suffix="sh", body=_text("sleep 600 &")),
    Kind(name="daemon", suffix="sh", leaves_daemon=True,
         body=_text("setsid sleep 600 </dev/null >/dev/null 2>&1 &\nsleep 0.1")),
    Kind(name="stubborn", suffix="sh", body=_text("trap '' TERM INT HUP\nsleep 600 &\nsleep 0.05" + _UNLESS_ORPHANED)),
    Kind(name="longer", suffix="sh", body=lambda draw: f"sleep {draw.uniform(0.1, 0.3):.3f}" + _UNLESS_ORPHANED),
    Kind(name="quick", suffix="py", body=_text("pass")),
    Kind(name="files", suffix="py", files=True,
         body=lambda draw: _FILES_PY.format(count=draw.choice((2, 3, 20)), size=draw.choice((1, 1, 60_000)))),
    Kind(name="daemon", suffix="py", leaves_daemon=True, body=_text(_DAEMON_PY)),
    Kind(name="child", suffix="py", body=_text(_CHILD_PY)),
)  # fmt: skip


def draw_scripts(draw: random.Random, folder: Path, witness: Path, *, few: bool) -> dict[str, Kind]:
    """Write 8 to 16 scripts into the folder, 4 to 7 when there shall be few; returns them by name."""
    folder.mkdir(parents=True)
    witness.mkdir()
    chosen = {}
    for number in range(draw.randint(*((4, 7) if few else (8, 16)))):
        kind = draw.choices(KINDS, weights=[1 if kind.suffix == "py" else 2 for kind in KINDS])[0]
        name = f"{kind.name}{number}.{kind.suffix}"
        shape = _SH if kind.suffix == "sh" else _PY
        text = shape.format(witness=str(witness / name), body=kind.body(draw), code=kind.code)
        (folder / name).write_text(text)
        chosen[name] = kind
    return chosen
