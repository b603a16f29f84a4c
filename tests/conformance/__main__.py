"""Run the scripts of any folder cold and warm, and show what differs.

    python -m tests.conformance                        our own zoo
    python -m tests.conformance FOLDER… --only 'plot_*' --timeout 30 --json verdicts.json

Exit code 1 when a difference is left unexplained.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

from buildrunner.removal import remove_tree
from tests.conformance.arms import WARM, Arm, Broken
from tests.conformance.cases import of_folder
from tests.conformance.compare import compare, faults, summary
from tests.conformance.explained import EXPLAINED
from tests.conformance.zoo_cases import zoo


def main() -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="default: our own zoo")
    parser.add_argument("--only", default="*", metavar="GLOB", help="scripts by their name, or its last part")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for each script")
    parser.add_argument("--python", default=sys.executable, help="the scripts' interpreter")
    parser.add_argument("--against", default=WARM.mode, metavar="MODE", help="what cold is compared with")
    parser.add_argument("--preload", metavar="MODULE", help="what the warm run is told to preload")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the verdicts go as data")
    parser.add_argument("--base", type=Path, metavar="DIR", help="where everything is done; it stays afterwards")
    asked = parser.parse_args()
    for folder in asked.folders:
        if not folder.is_dir():
            parser.error(f"{folder} is no folder")
    base = asked.base or Path(tempfile.mkdtemp(prefix="conformance-"))
    try:
        return judge(asked, base)
    except Broken as exc:
        print(exc, file=sys.stderr)
        return 2
    finally:
        if not asked.base:
            remove_tree(str(base))


def judge(asked: argparse.Namespace, base: Path) -> int:
    """Compare, and say what came of it."""
    cases = [case for case in zoo() if fnmatch(case.name, asked.only)] if not asked.folders else []
    for number, folder in enumerate(asked.folders):
        copy = base / f"folder{number}" / folder.resolve().name  # what scripts do to their neighbours stays in here
        remove_tree(str(copy.parent))
        shutil.copytree(folder, copy, symlinks=True)
        cases += of_folder(copy, asked.only)
    if not cases:
        raise Broken(f"no scripts match {asked.only}")
    arm = Arm(mode=asked.against, options=("--preload", asked.preload) if asked.preload else ())
    known = {} if asked.folders else EXPLAINED
    verdicts = compare(base, cases, python=asked.python, explained=known, warm=arm, timeout=asked.timeout)
    print(summary(verdicts))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    return 1 if faults(verdicts) else 0


sys.exit(main())
