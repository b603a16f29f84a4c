"""Kill the program at many moments and calls, and compare what it shows with what its scripts say they did.

    python -m tests.harness --seed 7 --points 200
    python -m tests.harness --replay 7:41:server:commit --at 23

Exit code 1 when a promise was broken. The folder of such a point stays, and the command that does it again is printed.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.harness.blows import build_library
from tests.harness.campaign import KINDS, campaign, complaint, table
from tests.harness.point import Point


def main() -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--points", type=int, default=len(KINDS))
    parser.add_argument("--only", metavar="KIND", help="one of: " + ", ".join(KINDS))
    parser.add_argument("--lanes", type=int, default=2, help="how many points at a time")
    parser.add_argument("--replay", metavar="SEED:POINT:KIND", help="one point again")
    parser.add_argument("--at", default="", help="where its blows fell, as they were printed")
    parser.add_argument("--few", action="store_true", help="few scripts a point")
    parser.add_argument("--folder", type=Path, help="where the points' folders are made")
    asked = parser.parse_args()
    if asked.only and asked.only not in KINDS:
        parser.error(f"--only takes one of: {', '.join(KINDS)}")
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="kill-points-"))
    folder.mkdir(parents=True, exist_ok=True)
    library = build_library(folder)
    if library is None:
        print("no C compiler (cc or gcc): only kills at moments, none at calls", flush=True)
    if asked.replay:
        seed, number, kind = asked.replay.split(":", 2)
        at = tuple(filter(None, asked.at.split(",")))
        point = Point(seed=int(seed), number=int(number), kind=kind, folder=folder / "again", library=library, at=at,
                      few=asked.few)  # fmt: skip
        results = [point.carry_out()]
        if results[0].violations:
            print(complaint(results[0]))
    else:
        print(f"seed {asked.seed}, {asked.points} points, in {folder}", flush=True)
        kinds = (asked.only,) if asked.only else None
        results = campaign(
            seed=asked.seed,
            points=asked.points,
            folder=folder,
            library=library,
            kinds=kinds,
            few=asked.few,
            lanes=asked.lanes,
        )
    print(table(results))
    if any(result.violations for result in results):
        return 1
    if not asked.folder:
        shutil.rmtree(folder)
    return 0


sys.exit(main())
