"""Count the primes below PRIME_LIMIT by trial division: pure Python, one core, next to no memory.

The last ten primes go to primes.txt in BUILDRUNNER_OUTPUT_DIR, when that is set.
"""

import os
import sys
from math import isqrt
from pathlib import Path


def primes_below(limit: int) -> list[int]:
    """Every prime smaller than `limit`, ascending."""
    if limit <= 2:
        return []
    primes = [2]
    for candidate in range(3, limit, 2):
        root = isqrt(candidate)
        for prime in primes:
            if prime > root:
                primes.append(candidate)
                break
            if candidate % prime == 0:
                break
    return primes


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
    limit = size_from_environment("PRIME_LIMIT", 2_000_000)
    primes = primes_below(limit)
    print(f"{len(primes)} primes below {limit}")
    if folder := os.environ.get("BUILDRUNNER_OUTPUT_DIR"):
        lines = "".join(f"{prime}\n" for prime in primes[-10:])
        Path(folder, "primes.txt").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
