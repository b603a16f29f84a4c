"""Names as file names and as text to show: legal, distinct and harmless, whatever bytes a script's name holds."""

import os
import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from buildrunner.naming import display, display_lines, file_name, file_names

ODD = [
    b"a", b"A", b"a.1", b"a.2", b"a.10", b"a.1.2", b"a.1.1", b"a.out", b"a.err", b"a.1.out", b"a.py", b"A.PY", b"a/b",
    b"a%2Fb", b"a%252Fb", b"-", b"--", b"-rf", b".", b"..", b"...", b". ", b" ", b"  ", b"a.", b"a ", b"a..", b".a",
    b"\n", b"\r\n", b"\t", b"\x1b[31m", b"\x7f", b"\\", b"*", b"?", b'"', b"'", b"|", b"<>", b":", b"~", b"%",
    b"%%", b"%41", b"\xff", b"\xff\xfe", b"\xc3\xa9", b"e\xcc\x81", b"\xc3", b"\xa9", b"\xe2\x80\xae", b"\xe2\x81\xa6",
    b"\xe2\x80\x8b", b"\xc2\xa0", b"\xef\xac\x81", b"fi", b"\xc3\x9f", b"ss", b"\xe2\x80\xa4", b"a\xe2\x80\xa41",
    b"a.\xc2\xb9", b"\xef\xbd\x81", b"\xf0\x9f\x98\x80", b"x" * 255, b"X" * 255, b"x" * 254, b"x" * 200, b"x" * 201,
    b"\xff" * 255, b"/" * 255, b"%" * 255, b"\xc3\xa9" * 127, b"\xf0\x9f\x98\x80" * 63, b"\xf0\x9f\x98\x80" * 64,
    b"\n" * 255, b"sub/" * 300 + b"a.py", b"x" * 255 + b".1", b"CON", b"nul.py",
]  # fmt: skip

any_bytes = st.binary(min_size=1, max_size=300).map(lambda b: b.replace(b"\0", b"/"))
letters = st.text("aA.1%~ -/\\éﬁﬀß\u2024¹\uff41\n\u202e\u2066", min_size=1, max_size=6).map(str.encode)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).map(str.encode)
names = st.one_of(st.sampled_from(ODD), letters, texts, any_bytes).map(os.fsdecode)


def fold(text: str) -> str:
    """What the most forgiving file systems take for the same name: case and compatible Unicode forms."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def is_one_legal_component(text: str) -> None:
    encoded = text.encode()  # UTF-8, so that also a zip can hold it
    assert len(encoded) + len(b".12.out") <= 255
    assert text not in ("", ".", "..")
    assert not set(text) & set('/\\:*?"<>|\0')
    assert text[0] not in "-. "
    assert text[-1] not in ". "
    assert text.isprintable()


@given(names)
def test_a_file_name_is_one_legal_component(name: str) -> None:
    is_one_legal_component(file_name(name))


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_odd_names_are_one_legal_component(raw: bytes) -> None:
    is_one_legal_component(file_name(os.fsdecode(raw)))


@given(names, names)
def test_two_names_never_have_one_file_name(one: str, other: str) -> None:
    assume(one != other)
    assert file_name(one) != file_name(other)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Prime.py", "Prime.py"),
        ("sub/Prime.py", "sub%2FPrime.py"),
        ("größe 1.py", "größe 1.py"),
        ("100%.py", "100%25.py"),
        (".hidden", "%2Ehidden"),
        ("a.", "a%2E"),
        ("-x", "%2Dx"),
        ("..", "%2E%2E"),
    ],
)
def test_file_names_stay_readable(name: str, expected: str) -> None:
    assert file_name(name) == expected


def files_of(file: str) -> set[str]:
    """What a job may write in the log folder."""
    return {f"{file}.{number}{suffix}" for number in ("1", "2", "10") for suffix in (".out", ".err")} | {
        f"{file}.out",
        f"{file}.err",
    }


def all_distinct(given_names: list[str]) -> None:
    result = file_names(given_names)
    assert set(result) == set(given_names)
    for file in result.values():
        is_one_legal_component(file)
    folded = [fold(file) for file in result.values()]
    assert len(set(folded)) == len(folded)
    seen: dict[str, str] = {}
    for name, file in result.items():
        for log in files_of(file):
            assert seen.setdefault(fold(log), name) == name, f"{name!r} and {seen[fold(log)]!r} both write {log!r}"


@settings(deadline=None)
@given(st.lists(names, unique=True, max_size=8))
@example(["a", "a.1"])
@example(["a.1", "a.1.1", "a"])
@example(["a", "a.out", "a.err", "a.1.out"])
@example(["A.1", "a"])
@example(["x" * 255, "x" * 255 + ".1", "X" * 255])
def test_file_names_and_logs_are_distinct_where_the_file_system_folds(given_names: list[str]) -> None:
    all_distinct(given_names)


def test_names_whose_folded_form_looks_like_an_earlier_attempts_log_are_told_apart() -> None:
    # On a file system that folds compatible forms, `a.¹.out` is `a.1.out`.
    for other in ("a\u20241", "a.¹", "a.\uff11"):
        all_distinct(["a", other])


def test_all_odd_names_at_once_are_distinct() -> None:
    all_distinct([os.fsdecode(raw) for raw in ODD])


def test_a_job_beside_one_named_like_its_log() -> None:
    assert file_names(["a", "a.out"]) == {"a": "a", "a.out": "a.out"}


@given(st.lists(names, unique=True, max_size=8), st.randoms())
def test_the_order_of_the_names_does_not_matter(given_names: list[str], rng: object) -> None:
    shuffled = list(given_names)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert file_names(shuffled) == file_names(given_names)


@settings(deadline=None)
@given(st.lists(names, unique=True, min_size=1, max_size=5), st.lists(names.map(file_name), max_size=5))
def test_what_is_taken_stays_free(given_names: list[str], taken: list[str]) -> None:
    files = file_names(given_names, taken=taken).values()
    assert not {fold(f) for f in files} & {fold(t) for t in taken}
    assert len({fold(f) for f in files}) == len(given_names)


def test_a_name_already_made_distinct_once_is_not_used_again_by_somebody_else() -> None:
    # What was made for us in an earlier folder may lie there as a stranger's by now.
    made = file_names(["a.py"], taken=["a.py"])["a.py"]
    again = file_names(["a.py"], taken=["a.py", made])["a.py"]
    assert again not in ("a.py", made)
    is_one_legal_component(again)


@given(names)
def test_what_is_shown_moves_no_cursor_and_hides_nothing(name: str) -> None:
    shown = display(name)
    assert shown.isprintable()
    shown.encode()
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assume(text.isprintable())
    assert display(text) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[2J.py", r"\x1b[2J.py"),
        (b"a\nb", r"a\nb"),
        (b"\xff", r"\xff"),
        ("\u202egnp.py".encode(), r"\u202egnp.py"),
        ("größe.py".encode(), "größe.py"),
    ],
)
def test_how_odd_names_are_shown(raw: bytes, shown: str) -> None:
    assert display(os.fsdecode(raw)) == shown


@given(names)
def test_lines_keep_their_ends_and_nothing_else(text: str) -> None:
    shown = display_lines(text)
    assert shown.count("\n") == text.count("\n")
    assert all(line.isprintable() for line in shown.split("\n"))


def test_tabs_in_lines_become_spaces() -> None:
    assert display_lines("a\tb\r\nc") == "a    b\\r\nc"
