"""The one exception tree. Every message says what is wrong, where, and what to do about it.

The class decides the command's exit code, so that no door has to guess.
"""


class BuildrunnerError(Exception):
    """Anything that stops a command with a sentence instead of a traceback."""

    exit_code = 3


class UsageError(BuildrunnerError):
    """The request cannot be carried out as it was made."""

    exit_code = 2


class NothingToRun(BuildrunnerError):
    """The target holds no script."""

    exit_code = 5


class NothingLeft(BuildrunnerError):
    """There are scripts, but none that this run was asked for is left to run: that is well."""

    exit_code = 0


class LedgerBusy(UsageError):
    """Another living process holds what is wanted: a ledger, an output folder, a worker's journal."""


class LedgerError(BuildrunnerError):
    """The ledger could not be read or written; nothing more is claimed after this."""


class PoolError(BuildrunnerError):
    """The worker processes cannot be kept running."""


class PackageError(BuildrunnerError):
    """The zip could not be made; an older one is untouched."""


class NotAPackage(UsageError):
    """The file is no zip of ours."""


class ReceiptError(BuildrunnerError):
    """A receipt does not have the shape or the checksum it should have."""
