"""Multiply two random MATRIX_SIZE x MATRIX_SIZE matrices with numpy, which uses several cores if it may.

The entries are small integers held as floats. Every sum on the way is then a whole number far below
2**53, so the product is exact: however many threads numpy takes, and in whatever order they add, each
run prints the same.

The top left corner of the product goes to corner.csv in BUILDRUNNER_OUTPUT_DIR, when that is set.
"""

import os
import sys
from pathlib import Path

SEED = 20260101


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
    size = size_from_environment("MATRIX_SIZE", 4000)
    try:
        import numpy as np
    except ModuleNotFoundError:
        raise SystemExit("Matrix.py needs numpy: python -m pip install numpy") from None

    rng = np.random.default_rng(SEED)
    a, b = (rng.integers(-9, 10, (size, size), dtype=np.int8).astype(np.float64) for _ in range(2))
    vector = rng.integers(-9, 10, size).astype(np.float64)
    product = a @ b

    if not np.array_equal(product @ vector, a @ (b @ vector)):
        raise SystemExit("the product is wrong: (A B) v differs from A (B v)")
    print(f"product of two {size} x {size} matrices, checked: (A B) v = A (B v)")
    print(f"trace {int(product.trace())}, smallest {int(product.min())}, largest {int(product.max())}")
    if folder := os.environ.get("BUILDRUNNER_OUTPUT_DIR"):
        np.savetxt(Path(folder, "corner.csv"), product[:5, :5].astype(int), fmt="%d", delimiter=",")


if __name__ == "__main__":
    main()
