"""A ledger on a real SQLite file, and a folder with scripts, for the tests of this folder that ask for them."""

from collections.abc import Callable, Iterator
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


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a folder with scripts in `src` and goes there."""

    def place(name: str = "here", *, scripts: dict[str, str]) -> Path:
        folder = tmp_path / name
        for script, text in scripts.items():
            path = folder / "src" / script
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.chdir(folder)
        return folder

    return place
