"""Functions whose frames nobody sees: not `inspect`, not a traceback, not `sys._getframe`.

CPython leaves out a frame that has not reached the RESUME instruction at its function's beginning, because there is
nothing to be said about it yet (`_PyFrame_IsIncomplete` in its pycore_frame.h, since 3.11). A function without that
instruction never gets there. Only the bottom of a stack is to be hidden like this, where a script shall find nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, without its first instruction, which must be RESUME: it has no variables of another's."""
    from opcode import opmap

    code = bytearray(function.__code__.co_code)
    if code[0] == opmap["RESUME"]:
        code[:2] = opmap["NOP"], 0
        function.__code__ = function.__code__.replace(co_code=bytes(code))
    return function


@hidden
def is_hiding() -> bool:
    """Whether it works in this interpreter: what a hidden function runs does not see it, also when it fails."""
    probe = "import sys\nbehind = []\nframe = sys._getframe()\nwhile frame := frame.f_back: behind.append(frame)\n1 / 0"
    seen: dict[str, Any] = {}
    try:
        exec(probe, seen)
    except ZeroDivisionError as exc:
        traceback = exc.__traceback__
        names = [frame.f_code.co_name for frame in seen["behind"]]
        return traceback is not None and traceback.tb_next is None and "is_hiding" not in names
    return False
