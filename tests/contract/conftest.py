"""A ledger on a real SQLite file, for every test of this folder that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from buildrunner.ledger import Ledger


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def ledger(state: Path) -> Iterator[Ledger]:
    with Ledger(state, purpose="a test") as ledger:
        yield ledger
