"""A matplotlib backend that shows a figure by saving a picture of it, drawn by Agg.

With MPLBACKEND=module://saving_backend, and this file's folder in PYTHONPATH, every `show()` of a script leaves
figure-1.png, figure-2.png, … in the folder that $BUILDRUNNER_OUTPUT_DIR names, without it in the working directory.
A `show()` that would wait until the windows are closed closes the figures; one that would not leaves them open, and
the next `show()` takes their picture again. A figure that is never shown leaves none.

It must not steer the script otherwise: `savefig`, sizes and settings are the script's own, and no file is replaced.
Only since matplotlib 3.7 does `show()` ask the canvas's manager what to do.
"""

import functools
import io
import itertools
import os
import sys
from typing import BinaryIO

from matplotlib import pyplot
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

if not hasattr(FigureManagerBase, "start_main_loop"):  # figures would stay open, and be saved again and again
    raise ImportError("saving_backend needs matplotlib 3.7 or newer")

_numbers = itertools.count(1)  # over the whole script


class FigureManager(FigureManagerBase):
    """What stands in for a figure's window."""

    def show(self) -> None:
        """Save the figure's picture under the next number."""
        picture = io.BytesIO()
        # The version of matplotlib would stand in the file: two equal pictures are to be equal bytes.
        self.canvas.figure.savefig(picture, format="png", metadata={"Software": None})
        with _next_file() as file:
            file.write(picture.getbuffer())

    @classmethod
    def start_main_loop(cls) -> None:
        """Someone has looked at all the windows, and closed them."""
        pyplot.close("all")


class FigureCanvas(FigureCanvasAgg):
    """Agg's canvas, with the manager above."""

    manager_class = FigureManager


@functools.cache
def _folder() -> str:
    """Where the pictures go, asked once: a script that changes its directory leaves them together."""
    if folder := os.environ.get("BUILDRUNNER_OUTPUT_DIR"):
        return folder
    print(f"saving_backend: no $BUILDRUNNER_OUTPUT_DIR, so pictures go to {os.getcwd()}", file=sys.stderr)
    return os.getcwd()


def _next_file() -> BinaryIO:
    """A new file under the next number that is free: the script may have saved something of that name itself."""
    while True:
        try:
            return open(os.path.join(_folder(), f"figure-{next(_numbers)}.png"), "xb")
        except FileExistsError:
            continue
