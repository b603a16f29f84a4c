"""Draws what a command really printed as an SVG: `python docs/picture.py OUT.svg COMMAND…`.

The command runs on a pseudo-terminal of its own, so it prints what a person would see.
"""

import os
import pty
import shlex
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 104

# As rich's own, without its web fonts: a README must not load anything from elsewhere.
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def recorded(command: list[str]) -> str:
    """What the command prints on a terminal."""
    chunks: list[bytes] = []

    def read(fd: int) -> bytes:
        chunks.append(os.read(fd, 65536))
        return chunks[-1]

    os.environ.update(COLUMNS=str(COLUMNS), LINES="50", TERM="xterm-256color")
    pty.spawn(command, read)
    return b"".join(chunks).decode(errors="replace").replace("\r\n", "\n")


def main() -> None:
    """Run the command and write the picture."""
    target, command = Path(sys.argv[1]), sys.argv[2:]
    shown = shlex.join([os.path.basename(command[0]), *command[1:]])
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(f"$ {shown}\n" + recorded(command)))
    target.write_text(
        console.export_svg(title="buildrunner", theme=MONOKAI, code_format=FORMAT, unique_id="run"), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
