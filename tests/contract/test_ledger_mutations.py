"""Random damage to a ledger's files: it opens as it was, or it is refused or told; never is it silently wrong.

A seed is one damage (`damage.Damage`), so that a failure names what to do again. Of what has no checksum (options and
times of a run, a job's spec, the hash of a script) changes are counted, as docs/how-to/ledger.md says.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildrunner.errors import BuildrunnerError
from buildrunner.ledger import Reader
from buildrunner.ledger.check import check
from buildrunner.summary import attempt_documents, run_document
from tests.contract.damage import Damage, checkpointed, everything, make

MUTATIONS = int(os.environ.get("MUTATIONS", "10000"))
FIRST = int(os.environ.get("MUTATIONS_SEED", "0"))
# What decides: of a job all but its spec and its reason, of an attempt all but the script's hash, of a run its name.
DECIDES = {"runs": (0, 1, 2), "jobs": (0, 1, 2, 3, 5, 6, 7, 8), "attempts": (0, 1, 2, 3), "receipts": tuple(range(17))}


def forgive_the_last(after: dict[str, Any], before: dict[str, Any]) -> None:
    """The last thing recorded was an attempt that never started: where the log lost that, nobody can know."""
    last = max(key for key, row in before["jobs"].items() if row[5] == "running")
    job, attempt = before["jobs"][last], before["jobs"][last][6]
    if attempt not in after["attempts"] and after["jobs"].get(last) == (*job[:5], "waiting", None, 0, *job[8:]):
        after["jobs"][last], after["attempts"][attempt] = job, before["attempts"][attempt]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="mutations-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def read_all(files: Path) -> dict[str, Any]:
    """Through everything that verbs read with; raises what they would."""
    reader = Reader.open(files)
    try:
        for run in list(reader.runs()):
            list(run_document(reader, run)["results"])
            reader.spent(run), reader.busy(run), reader.last_end(run), reader.at_work(run), reader.counts(run)
            reader.past_seconds(run.key, run.args)
            for result in reader.results(run):
                list(reader.endings(result))
        list(attempt_documents(reader))
    finally:
        reader.close()
    return everything(files)


def mutated(seeds: range, folder: Path) -> Counter[str]:
    """Damage the files once for each seed; how often what came of it."""
    make(folder / "state", folder / "log")
    checkpointed(Path(shutil.copytree(folder / "log", folder / "merged")))
    before = everything(folder / "log")
    counts: Counter[str] = Counter()
    for seed in seeds:
        files = folder / "damaged"
        shutil.rmtree(files, ignore_errors=True)
        shutil.copytree(folder / ("log" if seed % 2 else "merged"), files)
        what = f"seed {seed}: {Damage(seed).do(files)}"
        try:
            after = read_all(files)
            refused = False
        except BuildrunnerError:
            refused = True
        except Exception as exc:
            raise AssertionError(f"{what}: not a sentence, but {exc!r}") from exc
        if check(files).problems:
            counts["refused and told" if refused else "told"] += 1
            continue
        assert not refused, f"{what}: refused, and the check finds nothing"
        forgive_the_last(after, before)
        for table, columns in DECIDES.items():
            assert after[table].keys() == before[table].keys(), what
            for key, row in after[table].items():
                was = before[table][key]
                if table == "receipts" and len(row) > 17:
                    assert row == was, what
                assert [row[c] for c in columns] == [was[c] for c in columns], f"{what}: {table} {key}"
        counts["as it was" if after == before else "a value without a checksum is another"] += 1
    return counts


def test_s54_random_damage_is_told_or_does_no_harm(memory: Path) -> None:
    counts = mutated(range(150), memory)
    assert counts["refused and told"] > 30
    assert counts["as it was"] > 10


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_s54_ten_thousand_random_damages_are_told_or_do_no_harm(memory: Path) -> None:
    seeds = range(FIRST, FIRST + MUTATIONS)
    counts = mutated(seeds, memory)
    print(f"MUTATIONS_SEED={FIRST} MUTATIONS={MUTATIONS}: {dict(counts)}")
    assert counts.total() == MUTATIONS
