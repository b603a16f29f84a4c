"""Runs a folder of scripts in parallel, each in its own process, and records how each one ended.

>>> from buildrunner import BuildServer
>>> BuildServer.__name__
'BuildServer'
"""

__version__ = "0.1.0"
__all__ = ["BuildServer", "BuildrunnerError", "Summary", "__version__"]

TYPE_CHECKING = False  # as in typing, which a worker must not have to import
if TYPE_CHECKING:
    from typing import Any

    from buildrunner.errors import BuildrunnerError
    from buildrunner.server import BuildServer
    from buildrunner.summary import Summary

_HOMES = {"BuildServer": "server", "BuildrunnerError": "errors", "Summary": "summary"}


def __getattr__(name: str) -> "Any":
    # Loaded on first use: `buildrunner --version` must not pay for SQLite.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"buildrunner.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
