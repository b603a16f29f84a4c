"""Names of jobs: as file names, and as text a terminal may be shown.

A job's name is the script's path and may hold any byte but NUL. As a file name (`NAME` in `logs/NAME.out` and
`files/NAME/`) its unsafe bytes are percent-encoded; as text, what could move a cursor or confuse a reader is
escaped.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Collection, Iterable

_UNSAFE = frozenset('/\\:*?"<>|%')
_LONGEST = 200  # bytes; leaves room for `.12.out` within the 255 that file systems allow
_KEPT = 45  # characters of a name that are kept beside its hash; at most four bytes each
_HASHED = re.compile("~[0-9a-f]{16}")
_EARLIER_ATTEMPT = re.compile(r"(.+)\.\d+")


def file_name(name: str) -> str:
    r"""The job name as one legal file name.

    >>> file_name("sub/Prime.py"), file_name("-x\n.py"), file_name("a\udcff.py")
    ('sub%2FPrime.py', '%2Dx%0A.py', 'a%FF.py')
    """
    encoded = "".join(_encode(c) if c in _UNSAFE or not c.isprintable() else c for c in name)
    if encoded[0] in "-. ":
        encoded = _encode(encoded[0]) + encoded[1:]
    if encoded[-1] in ". ":
        encoded = encoded[:-1] + _encode(encoded[-1])
    raw = encoded.encode()
    if len(raw) > _LONGEST:
        encoded = raw[: _LONGEST - 17].decode(errors="ignore") + "~" + _digest(name)
    return encoded


def bare(name: str) -> str:
    """What people call a job for short: the last part of its name, without its suffix.

    >>> bare("sub/Prime.py")
    'Prime'
    """
    return name.rsplit("/", 1)[-1].partition(".")[0]


def file_names(names: Iterable[str], *, taken: Collection[str] = ()) -> dict[str, str]:
    """A file name for every job, distinct also where a file system folds case or Unicode forms.

    `taken` are file names that somebody else uses already. A name that would meet another gets a hash of the
    job's name; which one does depends only on the set of names, never on the file system.

    >>> file_names(["A.py", "a.py"])["a.py"].startswith("a.py~")
    True
    """
    used = {folded for name in taken for folded in _meets(_fold(name))}
    result: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (_fold(name), name)):
        encoded = file_name(name)
        salt = 0
        # Job `a.1` must not meet the log of job `a`'s first attempt, `a.1.out`.
        while not used.isdisjoint(_meets(_fold(encoded))):
            encoded = f"{file_name(name)[:_KEPT]}~{_digest(name + salt * '/')}"
            salt += 1
        used.add(_fold(encoded))
        result[name] = encoded
    return result


def is_file_name_of(file: str, name: str) -> bool:
    """Whether `file_names` may have given this file name to the job.

    >>> [is_file_name_of(file, "a.py") for file in ("a.py", "a.py~0123456789abcdef", "b.py")]
    [True, True, False]
    """
    plain = file_name(name)
    return file == plain or _HASHED.fullmatch(file.removeprefix(plain[:_KEPT])) is not None


def _meets(folded: str) -> set[str]:
    """The folded name, and that of the job of which it could be an earlier attempt."""
    earlier = _EARLIER_ATTEMPT.fullmatch(folded)
    return {folded, earlier[1]} if earlier else {folded}


def display(text: str) -> str:
    r"""Text that is safe to show: nothing in it moves the cursor, hides or breaks the line.

    >>> display("a\x1b[31m\n\udcff.py")
    'a\\x1b[31m\\n\\xff.py'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def display_lines(text: str) -> str:
    """Like `display`, but line ends and tabs stay."""
    return "\n".join(display(line.replace("\t", "    ")) for line in text.split("\n"))


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8, as Python carries it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def _encode(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(text))


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
