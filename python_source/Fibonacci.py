"""Compute fibonacci(FIBONACCI_N) by naive recursion: nothing but function calls, on purpose.

The table of fibonacci(0) to fibonacci(FIBONACCI_N), computed the quick way, goes to fibonacci.txt in
BUILDRUNNER_OUTPUT_DIR, when that is set.
"""

import os
import sys
from pathlib import Path


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def fibonacci_table(last: int) -> list[int]:
    """fibonacci(0) to fibonacci(last), in order."""
    table = [0, 1]
    while len(table) <= last:
        table.append(table[-1] + table[-2])
    return table[: last + 1]


def size_from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < 1:
        print(f"{name} must be a positive integer, not {text!r}", file=sys.stderr)
        raise SystemExit(2)
    return size


def main() -> None:
    n = size_from_environment("FIBONACCI_N", 35)
    print(f"fibonacci({n}) = {fibonacci(n)}")
    if folder := os.environ.get("BUILDRUNNER_OUTPUT_DIR"):
        lines = "".join(f"{i} {value}\n" for i, value in enumerate(fibonacci_table(n)))
        Path(folder, "fibonacci.txt").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
