"""Every module stands on a floor and imports only from its own floor or below; the worker imports next to nothing."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import buildrunner

PACKAGE = Path(buildrunner.__file__).parent

FLOORS = (
    ("errors", "job", "receipt", "plan", "speedup", "comparison", "naming", "events", "estimate", "forecast"),
    (
        "asked", "assignments", "changes", "choice", "config", "control", "delivery", "destination", "doctor", "edits",
        "groups", "interpreters", "journal", "ledger", "ledger.*", "machine", "outputfolder", "package", "packing",
        "preloading", "processes", "regular", "removal", "reports", "reports.*", "resumable", "run", "run.*", "scan",
        "sources", "strays", "summary", "timed", "workplace",
    ),
    ("pool", "spawning", "loop", "adoption", "bench", "signals"),
    ("server", "session"),
    ("cli", "cli.*", "__main__"),
)  # fmt: skip

IMPURE = {"sqlite3", "subprocess", "multiprocessing", "socket", "time", "pathlib"}

WORKER_MAY_IMPORT = {
    "__future__", "_io", "_locale", "_signal", "_thread", "_warnings", "_weakref", "atexit", "binascii", "builtins",
    "errno", "fcntl", "gc", "marshal", "os", "resource", "select", "stat", "sys", "time",
}  # fmt: skip
WORKER_MAY_IMPORT_LATE = {"ast", "ctypes", "hashlib", "opcode", "_sha2", "_sha256"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below `buildrunner`; the package itself is the empty name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def floor_of(module: str) -> int:
    floors = [n for n, patterns in enumerate(FLOORS) if any(fnmatchcase(module, p) for p in patterns)]
    assert len(floors) == 1, f"buildrunner.{module} has no floor: give it one in FLOORS"
    return floors[0]


def _for_types_only(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _walk(node: ast.AST, *, late: bool, types: bool) -> Iterator[tuple[ast.stmt, bool]]:
    """Import statements in a node, and whether they only run when a function is called."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, late
        return
    children: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and _for_types_only(node) and not types:
        children = list(node.orelse)
    inside = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in children:
        yield from _walk(child, late=inside, types=types)


def imports(source: str, *, types: bool) -> list[tuple[str, bool]]:
    """Dotted names a source imports (for `from x import y` both x and x.y), each with whether it comes late."""
    names = []
    for node, late in _walk(ast.parse(source), late=False, types=types):
        if isinstance(node, ast.Import):
            names += [(alias.name, late) for alias in node.names]
        else:
            assert isinstance(node, ast.ImportFrom)
            assert not node.level, "relative imports hide where a module stands"
            assert node.module
            names.append((node.module, late))
            names += [(f"{node.module}.{alias.name}", late) for alias in node.names]
    return names


def ours(names: list[tuple[str, bool]]) -> set[str]:
    """The modules of the package among imported names."""
    below = {name.removeprefix("buildrunner.") for name, _ in names if name.startswith("buildrunner.")}
    return below & set(MODULES)


def test_the_walk_sees_every_way_of_importing() -> None:
    source = (
        "import os, buildrunner.plan\n"
        "from buildrunner import job\n"
        "TYPE_CHECKING = False\n"
        "if TYPE_CHECKING:\n    from buildrunner.server import BuildServer\n"
        "else:\n    import fcntl\n"
        "class A:\n    import stat\n    def f(self):\n        if self:\n            import ast\n"
    )
    assert [name for name, _ in imports(source, types=False)] == [
        "os", "buildrunner.plan", "buildrunner", "buildrunner.job", "fcntl", "stat", "ast",
    ]  # fmt: skip
    assert [name for name, late in imports(source, types=False) if late] == ["ast"]
    assert ours(imports(source, types=True)) == {"plan", "job", "server"}


def test_modules_are_found() -> None:
    assert {"", "job", "ledger", "ledger.store", "run.worker", "cli.run", "__main__"} <= set(MODULES)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {""}))
def test_a_module_imports_only_from_its_floor_or_below(module: str) -> None:
    floor = floor_of(module)
    names = imports(MODULES[module].read_text(), types=True)
    above = {name for name in ours(names) if floor_of(name) > floor}
    assert not above, f"buildrunner.{module} (floor {floor}) imports from a floor above: {sorted(above)}"


@pytest.mark.parametrize("module", FLOORS[0])
def test_the_lowest_floor_knows_no_files_clocks_or_processes(module: str) -> None:
    roots = {name.partition(".")[0] for name, _ in imports(MODULES[module].read_text(), types=True)}
    assert not roots & IMPURE


def test_every_name_in_the_lowest_floor_is_a_module() -> None:
    assert set(FLOORS[0]) <= set(MODULES)


def test_the_package_itself_imports_nothing_of_its_own_when_loaded() -> None:
    # The worker program passes through it.
    names = imports(MODULES[""].read_text(), types=False)
    assert not ours([(name, late) for name, late in names if not late])


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m == "run" or m.startswith("run.")))
def test_the_worker_imports_next_to_nothing(module: str) -> None:
    for name, late in imports(MODULES[module].read_text(), types=False):
        root = name.partition(".")[0]
        if root == "buildrunner":
            assert name == "buildrunner.run" or name.startswith("buildrunner.run."), f"{module} imports {name}"
        else:
            allowed = WORKER_MAY_IMPORT | WORKER_MAY_IMPORT_LATE if late else WORKER_MAY_IMPORT
            assert root in allowed, f"{module} imports {name} {'in a function' if late else 'when loaded'}"
