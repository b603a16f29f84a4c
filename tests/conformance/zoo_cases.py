"""The cases of our own zoo: what lies in zoo/, in its settings.

A file is a case by itself; a folder is one whose script is `main.py` and whose other files lie beside it. Names that
no repository should hold, and bytes no editor would keep, are made by oddities.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from tests.conformance.cases import Case, Setting, alone, in_folder
from tests.conformance.oddities import oddities

ZOO = Path(__file__).with_name("zoo")
START = Path(__file__).with_name("start") / "at_start.py"

SETTINGS: tuple[tuple[Setting, tuple[str, ...]], ...] = (
    (Setting(), ("*",)),
    (
        Setting(
            name="invocation", options=("--cwd", "invocation"), arguments=("-a", "two words", "", "ü", "--", "-c", "1")
        ),
        (
            "sys_argv",
            "sys_path",
            "main_*",
            "frames_stack",
            "warn_stacklevel",
            "error_plain",
            "beside_package",
            "source_bom",
            "source_error_unclosed",
            "name_*",
            "link_*",
            "multi_spawn*",
        ),
    ),
    (
        Setting(
            name="odd",
            options=("--cwd", "scratch"),
            umask=0o027,
            env={
                "PYTHONOPTIMIZE": "1",
                "PYTHONIOENCODING": "latin-1:backslashreplace",
                "PYTHONWARNINGS": "always,error::FutureWarning",
                "PYTHONUNBUFFERED": "1",
                "PYTHONFAULTHANDLER": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONSAFEPATH": "1",
                "PYTHONNOUSERSITE": "1",
                "PYTHONINTMAXSTRDIGITS": "700",
            },
        ),
        (
            "sys_*",
            "main_doc",
            "warn_*",
            "error_unicode_identifier",
            "exit_segfault",
            "streams_o*",
            "streams_n*",
            "streams_b*",
            "streams_descriptor_closed",
            "source_warnings_many",
            "source_future",
            "beside_random",
        ),
    ),
    (
        Setting(
            name="posix",
            env={"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        ),
        ("error_unicode_identifier", "locale_state", "main_doc", "name_utf8", "name_non_utf8", "streams_non_ascii"),
    ),
    (
        Setting(name="coerced", env={"LANG": "C"}),  # Python makes it C.UTF-8, and tells its children
        (
            "exit_*string",
            "exit_surrogate",
            "error_unicode_identifier",
            "error_surrogates",
            "streams_*n*",
            "locale_*",
            "main_doc",
            "name_*",
            "source_bad_bytes",
            "source_latin1",
            "process_environment*",
        ),
    ),
    (
        Setting(name="customized", start=START),
        (
            "atexit_order",
            "error_plain",
            "exit_string",
            "exit_interrupt_raised",
            "del_order",
            "del_held_by_sys",
            "hook_replaced",
            "main_dict_values",
            "sys_modules_order",
            "thread_joined",
            "multi_fork_exits",
            "warn_deprecated_in_main",
            "frames_of_threads",
            "files_logging",
            "leak_b_observes",
        ),
    ),
    (
        Setting(name="told", env={"PYTHONINSPECT": "1", "PYTHONTRACEMALLOC": "2"}),
        ("exit_three", "error_plain", "lib_tracemalloc"),
    ),
)

ALWAYS = ("leak_*", "sys_modules_*", "main_d*", "del_order", "multi_spawn", "locale_state*")
"""What every run of the tests looks at; of the rest it is each fifth, and all in the soak."""


def slice_of_zoo() -> list[Case]:
    """Some of everything, always the same.

    What lies beside a script has a test of its own, and where all run cold by themselves there is little to compare.
    """
    return [
        case
        for number, case in enumerate(zoo())
        if (not number % 5 or any(fnmatch(case.name, glob) for glob in ALWAYS))
        and not case.name.startswith("beside_")
        and case.setting.name not in ("posix", "told")
    ]


def zoo() -> Iterator[Case]:
    """Every case in every setting it is for; in another setting than the first its name tells that."""
    for setting, globs in SETTINGS:
        for case in _cases():
            if any(fnmatch(case.name, glob) for glob in globs):
                name = f"{case.name} [{setting.name}]" if setting.name else case.name
                yield replace(case, name=name, setting=setting)


def _cases() -> Iterator[Case]:
    for path in sorted(ZOO.iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            yield in_folder(path, "main.py", name=path.name)
        elif path.suffix == ".py":
            yield alone(path)
    yield from oddities()
