"""Records what a command really shows on a terminal as a moving SVG: `python docs/recording.py OUT.svg COMMAND…`.

The command runs on a pseudo-terminal of its own; an emulator keeps what a person would see, frame by frame. A reader
whose system asks for less motion, and every program that only draws SVG, gets the last frame.
"""

import fcntl
import os
import pty
import select
import shlex
import struct
import sys
import termios
import time
from html import escape
from pathlib import Path

import pyte

COLUMNS, ROWS = 100, 32
STEP = 0.25  # seconds between two frames at the least
REST = 4.0  # seconds the last frame stays
FONT, LINE, CHARACTER = 14, 18, 8.43  # pixels
COLOURS = {"red": "#f47067", "green": "#8ddb8c", "yellow": "#daaa3f", "brown": "#daaa3f", "default": "#d1d7e0"}

Row = tuple[tuple[str, str, bool], ...]  # runs of text with a colour and whether they are bold
Frame = tuple[float, tuple[Row, ...]]


def record(command: list[str]) -> list[Frame]:
    """Run the command to its end; what its terminal showed, and when (seconds)."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {shlex.join([os.path.basename(command[0]), *command[1:]])}\r\n".encode())
    pid, fd = pty.fork()
    if pid == 0:
        for name in ("CI", "NO_COLOR", "COLUMNS"):
            os.environ.pop(name, None)
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    began, frames = time.monotonic(), []
    while True:
        ready = select.select([fd], [], [], STEP)[0]
        try:
            if ready and not (data := os.read(fd, 65536)):
                break
        except OSError:
            break  # how Linux says that nobody writes any more
        if ready:
            stream.feed(data)
        now = time.monotonic() - began
        if not frames or now - frames[-1][0] >= STEP:
            _keep(frames, now, screen)
    os.waitpid(pid, 0)
    _keep(frames, time.monotonic() - began, screen)
    return frames


def _keep(frames: list[Frame], now: float, screen: pyte.Screen) -> None:
    rows = tuple(_row(screen, number) for number in range(ROWS))
    if not frames or frames[-1][1] != rows:
        frames.append((now, rows))


def _row(screen: pyte.Screen, number: int) -> Row:
    runs: list[tuple[str, str, bool]] = []
    for column in range(COLUMNS):
        cell = screen.buffer[number][column]
        if runs and runs[-1][1:] == (cell.fg, cell.bold):
            runs[-1] = (runs[-1][0] + cell.data, cell.fg, cell.bold)
        else:
            runs.append((cell.data, cell.fg, cell.bold))
    while runs and not runs[-1][0].strip():
        runs.pop()
    return tuple(runs)


def svg(frames: list[Frame]) -> str:
    """The frames below one another in a window that shows one at a time."""
    used = max(number + 1 for _, rows in frames for number, row in enumerate(rows) if row)
    width, height = COLUMNS * CHARACTER + 32, used * LINE + 24
    length = frames[-1][0] + REST
    known: dict[Row, str] = {}
    for _, rows in frames:
        for row in rows:
            if row:
                known.setdefault(row, f"r{len(known)}")
    steps = "".join(
        f"{100 * moment / length:.2f}%{{transform:translateY({-number * height:.0f}px)}}"
        for number, (moment, _) in enumerate(((0.0, frames[0][1]), *frames[1:]))
    )
    last = f"transform:translateY({-(len(frames) - 1) * height:.0f}px)"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" '
        'aria-label="A recording of a terminal" xml:space="preserve">',
        "<style>",
        f'text{{font:{FONT}px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;white-space:pre}}',
        ".b{font-weight:bold}",
        f"#film{{{last};animation:film {length:.2f}s step-end infinite}}",
        f"@keyframes film{{{steps}100%{{{last}}}}}",
        f"@media (prefers-reduced-motion:reduce){{#film{{animation:none;{last}}}}}",
        "</style>",
        "<defs>",
        *(f'<g id="{name}">{_text(row)}</g>' for row, name in known.items()),
        f'<clipPath id="window"><rect width="{width:.0f}" height="{height}" rx="8"/></clipPath>',
        "</defs>",
        f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#22272e"/>',
        '<g clip-path="url(#window)"><g id="film">',
    ]
    for number, (_, rows) in enumerate(frames):
        shown = "".join(
            f'<use href="#{known[row]}" x="16" y="{number * height + 12 + line * LINE}"/>'
            for line, row in enumerate(rows)
            if row
        )
        parts.append(f"<g>{shown}</g>")
    return "\n".join([*parts, "</g></g>", "</svg>", ""])


def _text(row: Row) -> str:
    spans, column = [], 0
    for text, colour, bold in row:
        if text.strip():
            start = column + len(text) - len(text.lstrip())
            shown = escape(text.strip())
            length = len(text.strip()) * CHARACTER
            weight = ' class="b"' if bold else ""
            place = f'x="{start * CHARACTER:.1f}" y="{FONT}" textLength="{length:.1f}"'
            spans.append(f'<text {place} fill="{COLOURS.get(colour, COLOURS["default"])}"{weight}>{shown}</text>')
        column += len(text)
    return "".join(spans)


def main() -> None:
    """Run the command and write the recording."""
    frames = record(sys.argv[2:])
    Path(sys.argv[1]).write_text(svg(frames), encoding="utf-8")


if __name__ == "__main__":
    main()
