"""Scripts that no editor and no repository would keep as they are: their bytes, names and places are made here."""

import marshal
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from tests.conformance.cases import Case

_OF_FILE = "import sys\nprint(ascii(__file__), ascii(sys.argv), ascii(sys.path[0][-20:]))\n1 / 0\n"

# The bytes of a script: how it is decoded and compiled, and what it says where that fails.
BYTES: dict[str, bytes] = {
    "source_bom": b"\xef\xbb\xbfprint(ascii('\xc3\xbc'))\n1/0\n",
    "source_bom_and_other_cookie": b"\xef\xbb\xbf# coding: latin-1\nprint('x')\n",
    "source_latin1": b"# -*- coding: latin-1 -*-\nprint(ascii('\xfc'))\nraise ValueError('\xfc')\n",
    "source_latin1_second_line": b"#!python\n# vim: set fileencoding=iso-8859-15 :\nprint(ascii('\xa4'))\n1/0\n",
    "source_cookie_third_line": b"#\n#\n# coding: latin-1\nprint('\xfc')\n",
    "source_cookie_unknown": b"# coding: no-such-coding\nprint('x')\n",
    "source_cookie_of_another_kind": b"# coding: rot13\ncevag('x')\n",
    "source_cookie_utf16": b"# coding: utf-16\nprint('x')\n",
    "source_cookie_cp1252_undefined": b"# coding: cp1252\nprint('\x81')\n",
    "source_cookie_shift_jis": "# coding: shift_jis\nprint(ascii('漢字'))\n漢字 = 1 / 0\n".encode("shift_jis"),
    "source_utf16_file": "print('x')\n".encode("utf-16"),
    "source_bad_bytes": b"x = 1\nprint('\xff\xfe')\n",
    "source_bad_bytes_in_comment": b"x = 1\n# \xff\nprint(x)\n",
    "source_bad_bytes_first_line": b"\xff\n",
    "source_bad_bytes_after_output": b"print('never')\n" * 3000 + b"\x80\n",
    "source_nul": b"print('before')\nx = '\0'\nprint('after')\n",
    "source_nul_in_comment": b"print('before')\n# \0\nprint('after')\n",
    "source_nul_at_start": b"\0print('x')\n",
    "source_nul_at_end": b"print('x')\n\0",
    "source_only_nuls": b"\0" * 100,
    "source_crlf": b"print(repr('''a\r\nb'''))\r\nif 1:\r\n    1/0\r\n",
    "source_lone_cr": b"print('a')\rprint('b')\r1/0\r",
    "source_mixed_ends": b"print('a')\r\nprint('b')\rprint('c')\n\r\n1/0",
    "source_no_newline": b"print('last')",
    "source_no_newline_comment": b"print('x')\n# comment",
    "source_no_newline_error": b"print('x'",
    "source_no_newline_indented": b"if 1:\n    print('x')\n    ",
    "source_backslash_end": b"print('x')\n\\",
    "source_form_feed": b"print('a')\n\x0cprint('b')\n\x0c\x0c  \nif 1:\n\x0c    print('c')\n    1/0\n",
    "source_control_z": b"print('a')\n\x1aprint('b')\n",
    "source_empty": b"",
    "source_only_bom": b"\xef\xbb\xbf",
    "source_only_newlines": b"\n\r\n\r",
    "source_only_comment": b"# nothing else",
    "source_huge_line": b"x = [" + b"1, " * 100_000 + b"]\nprint(len(x))\n1/0\n",
    "source_huge_line_error": b"x = '" + b"y" * 50_000 + b"' +\n",
    "source_many_lines": b"x = 1\n" * 70_000 + b"1/0\n",
    "source_deep_nesting": b"x = " + b"(" * 150 + b"1" + b")" * 150 + b"\nprint(x)\n",
    "source_too_deep_nesting": b"x = " + b"(" * 250 + b"1" + b")" * 250 + b"\n",
    "source_too_deep_expression": b"x = " + b"-" * 20_000 + b"1\n",
    "source_too_many_blocks": b"".join(b" " * i + b"while 1:\n" for i in range(30)) + b" " * 30 + b"pass\n",
    "source_too_deep_indentation": b"".join(b" " * i + b"if 1:\n" for i in range(110)) + b" " * 110 + b"pass\n",
    "source_tabs_inconsistent": b"if 1:\n\tprint('a')\n        print('b')\n",
    "source_tabs_and_spaces": b"if 1:\n    if 1:\n\tprint('a')\n",
    "source_dedent": b"if 1:\n        x = 1\n    y = 2\n",
    "source_indent_unexpected": b"x = 1\n  y = 2\n",
    "source_indent_missing": b"if 1:\nx = 1\n",
    "source_future": b"from __future__ import annotations, division\ndef f(x: y): ...\nprint(f.__annotations__)\n",
    "source_future_unknown": b"from __future__ import braces\n",
    "source_future_unheard_of": b"from __future__ import something\n",
    "source_future_late": b"x = 1\nfrom __future__ import annotations\n",
    "source_future_barry": b"from __future__ import barry_as_FLUFL\nprint(1 <> 2)\n",
    "source_error_unclosed": b"print((1, 2\nx = 3\n",
    "source_error_unmatched": b"x = (1, 2]\n",
    "source_error_string": b"x = 'abc\nprint(x)\n",
    "source_error_triple": b"x = '''abc\n" + b"y\n" * 5,
    "source_error_fstring": b"x = f'{1 +}'\n",
    "source_error_number": b"x = 0777\ny = 1__0\n",
    "source_error_keyword": b"class = 1\n",
    "source_error_print": b"print 'x'\n",
    "source_error_assign": b"f() = 1\n",
    "source_error_return": b"return 1\n",
    "source_error_await": b"await x\n",
    "source_error_yield": b"yield 1\n",
    "source_error_break": b"for i in []: pass\nbreak\n",
    "source_error_nonlocal": b"nonlocal x\n",
    "source_error_global_late": b"def f():\n    x = 1\n    global x\n",
    "source_error_argument_twice": b"def f(x, x): ...\n",
    "source_error_star": b"*a, *b = c\n",
    "source_error_del": b"del f()\n",
    "source_error_non_ascii": "x = “quoted”\n".encode(),
    "source_error_invisible": "x = 1\u200b\n".encode(),
    "source_error_wide": "x = '漢字漢字' 漢字 +\n".encode(),
    "source_error_matching": b"match 1:\n    case x: ...\n    case y: ...\n",
    "source_error_walrus": b"x := 1\n",
    "source_error_int_digits": b"x = " + b"1" * 5000 + b"\n",
    "source_error_unicode_escape": b"x = '\\N{no such name}' '\\u12'\n",
    "source_error_on_last_line_only": b"print('never')\n" + b"#\n" * 1000 + b"x = = 1\n",
    "source_warning_and_error": b"'\\d'\nassert (1, 2)\nx = = 1\n",
    "source_warnings_many": b"'\\d'\nassert (1, 2)\n1 is 1\n[] ()\n1()\n'a' 'b' is 'ab'\n",
    "source_shebang_bad": b"#!/no/such/interpreter -x\nprint('run as .py')\n",
    "source_ends_in_middle_of_utf8": b"print('x')\n# \xc3",
    "source_overlong_utf8": b"x = '\xc0\x80'\n",
    "source_surrogates_utf8": b"x = '\xed\xa0\x80'\n",
    "source_astral": "𠀀 = '🎉'\nprint(ascii(𠀀), ascii(list(globals())[-1]))\nraise ValueError('🎉')\n".encode(),
    "source_docstring_raw": b'r"""raw \\d doc"""\nprint(__doc__)\n',
    "source_docstring_indented": b'"""first\n    second\n        third\n"""\nprint(repr(__doc__))\n',
    "source_docstring_is_f": b'f"""no doc"""\nprint(repr(__doc__))\n',
    "source_not_python": b"\x7fELF not a program\n",
    "source_gif": b"GIF89a\x01\x00\x01\x00",
    "source_json": b'{"a": true}\n',
}

NAMES: dict[str, bytes] = {
    "name_blanks": b"a script.py",
    "name_newline": b"line\nbreak.py",
    "name_non_utf8": b"caf\xe9.py",
    "name_utf8": "größe 漢字.py".encode(),
    "name_leading_dash": b"-c.py",
    "name_dash_only": b"-.py",
    "name_dot": b".hidden.py",
    "name_dots": b"a.b.c.py",
    "name_quotes": b'it\'s "quoted" $HOME `x` \\.py',
    "name_percent": b"100%s{0}.py",
    "name_long": b"n" * 250 + b".py",
    "name_main": b"__main__.py",
    "name_init": b"__init__.py",
    "name_of_module": b"json.py",
    "name_escape": b"\x1b[31mred.py",
}


def oddities() -> Iterator[Case]:
    """All of them."""
    for name, data in BYTES.items():
        yield _made(name, b"main.py", data)
    for name, base in NAMES.items():
        yield _made(name, base, _OF_FILE.encode())
    yield _placed("name_in_odd_folder", os.fsdecode(b"a b\n\xff/sub.d/x.py"))
    yield Case(name="link_to_file", script="link.py", lay=_lay_link)
    yield Case(name="link_to_elsewhere", script="a/link.py", lay=_lay_link_elsewhere)
    yield Case(name="link_of_link", script="second.py", lay=_lay_two_links)
    yield Case(name="link_folder", script="linked/script.py", lay=_lay_linked_folder)
    yield Case(name="file_is_zip", script="main.py", lay=_lay_zip)
    yield Case(name="file_is_zip_with_head", script="main.py", lay=_lay_zip_with_head)
    yield Case(name="file_is_zip_without_main", script="main.py", lay=_lay_zip_without_main)
    yield Case(name="file_is_pyc", script="main.py", lay=_lay_pyc)
    yield Case(name="file_is_bad_pyc", script="main.py", lay=_lay_bad_pyc)
    yield Case(name="file_is_executable", script="main.py", lay=_lay_executable)
    yield Case(name="file_read_only_folder", script="main.py", lay=_lay_cached)
    yield Case(name="shebang_options", script="tool", lay=_lay_shebang("-I -W error"))
    yield Case(name="shebang_plain", script="tool", lay=_lay_shebang(""))
    yield Case(name="shebang_unbuffered", script="tool", lay=_lay_shebang("-u"))
    yield _made("source_warning_and_late_error", b"main.py", b"assert (1, 2)\nreturn 1\n")


def _made(name: str, base: bytes, data: bytes) -> Case:
    script = os.fsdecode(base)
    return Case(name=name, script=script, lay=lambda place: _write(place / script, data))


def _placed(name: str, script: str) -> Case:
    return Case(name=name, script=script, lay=lambda place: _write(place / script, _OF_FILE.encode()))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _lay_link(place: Path) -> None:
    _write(place / "real.py", b"import beside\n" + _OF_FILE.encode())
    _write(place / "beside.py", b"print('beside the real one')\n")
    (place / "link.py").symlink_to("real.py")


def _lay_link_elsewhere(place: Path) -> None:
    _write(place / "b" / "real.py", b"import beside\n" + _OF_FILE.encode())
    _write(place / "b" / "beside.py", b"print('beside the real one')\n")
    _write(place / "a" / "beside.py", b"print('beside the link')\n")
    (place / "a" / "link.py").symlink_to("../b/real.py")


def _lay_two_links(place: Path) -> None:
    _write(place / "x" / "y" / "real.py", b"import os; print(os.listdir('.'))\n" + _OF_FILE.encode())
    (place / "x" / "first.py").symlink_to("y/real.py")
    (place / "second.py").symlink_to("x/first.py")


def _lay_linked_folder(place: Path) -> None:
    _write(place / "real" / "script.py", _OF_FILE.encode())
    (place / "linked").symlink_to("real")


def _lay_zip(place: Path) -> None:
    with zipfile.ZipFile(place / "main.py", "w") as archive:
        archive.writestr("__main__.py", "import sys, inner\nprint(__file__, __spec__, sys.argv, sys.path[0])\n1/0\n")
        archive.writestr("inner.py", "print('inner', __file__)\n")


def _lay_zip_with_head(place: Path) -> None:
    _lay_zip(place)
    whole = (place / "main.py").read_bytes()
    (place / "main.py").write_bytes(b"#!/usr/bin/env python3\n" + whole)


def _lay_zip_without_main(place: Path) -> None:
    with zipfile.ZipFile(place / "main.py", "w") as archive:
        archive.writestr("other.py", "print('never')\n")


def _lay_pyc(place: Path) -> None:
    # Of the interpreter that runs the suite; another one's says "Bad magic number", the same cold and warm.
    code = compile("print('compiled', __file__)\n1/0\n", "made_up.py", "exec")
    (place / "main.py").write_bytes(MAGIC_NUMBER + struct.pack("<III", 0, 0, 0) + marshal.dumps(code))


def _lay_bad_pyc(place: Path) -> None:
    (place / "main.py").write_bytes(MAGIC_NUMBER + struct.pack("<III", 0, 0, 0) + b"damaged")


def _lay_executable(place: Path) -> None:
    _write(place / "main.py", b"#!/bin/sh\nprint('by the interpreter, not by the shell')\n")
    (place / "main.py").chmod(0o755)


def _lay_cached(place: Path) -> None:
    _write(place / "main.py", b"import mod\nprint('main')\n")
    _write(place / "mod.py", b"print('mod')\n")
    place.chmod(0o555)


def _lay_shebang(options: str) -> Callable[[Path], None]:
    """A script without a suffix whose first line names the suite's own Python, with options."""

    def lay(place: Path) -> None:
        line = f"#!{sys.executable} {options}".rstrip()
        _write(place / "tool", f"{line}\nimport sys\nprint(sys.flags, sys.warnoptions, sys.argv)\n".encode())
        (place / "tool").chmod(0o755)

    return lay
