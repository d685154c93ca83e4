"""The identity of a kernel: comments and blank space do not count, all that is compiled does."""

import json
import random
import re
import subprocess
from pathlib import Path

import pytest

from tuner import registry
from tuner.core import identity
from tuner.core.host_cxx import missing_compiler, require_compiler
from tuner.core.identity import as_it_stands, kernel_identity, read
from tuner.core.places import CUDA_SRC, SCHEDULES
from tuner.core.source_kernel import SourceKernel
from tuner.core.stripped import stripped_cxx, stripped_python

HEAD = """/*[tuner]
name = "k"
operator = "gemm"
summary = "one"
entry = "gemm"
arguments = ["A", "B", "D", "m", "n", "k"]
use = ["tiles"]
[parameters]
MR = { values = [1, 2], doc = "rows" }
[constraints]
# A comment of TOML.
fits = "MR * NR <= 8"
*/
"""
BODY = """#include <stdint.h>
#include "part.h"
extern "C" void gemm(const float* A, const float* B, float* D, int64_t m, int64_t n, int64_t k) {
    for (int64_t i = 0; i < m * n; ++i) D[i] = VALUE;  // all of them
}
"""
PART = """/*[tuner.shared]
[tiles.parameters]
NR = { values = [1, 2, 4], doc = "columns" }
[others.parameters]
KR = [1]
*/
#pragma once
#define VALUE 1.0f
"""


def digest_of(folder: Path, head: str = HEAD, body: str = BODY, part: str = PART) -> str:
    (folder / "part.h").write_text(part)
    (folder / "k.cpp").write_text(head + body)
    kernel = registry.source_kernel(folder / "k.cpp")
    assert kernel.digest == kernel.present_digest()
    return kernel.digest


@pytest.mark.parametrize(
    ("of", "old", "new"),
    [
        ("body", "// all of them", ""),
        ("body", "// all of them", "/* each\n   of them */"),
        ("body", "    for", "\n\n  // why\n\tfor"),
        ("body", "\n", "\r\n"),
        ("body", "{\n", "{  \n\n"),
        ("head", '"one"', '"another summary"'),
        ("head", "entry =", 'accuracy = "small numbers count as zero"\nentry ='),
        ("head", 'doc = "rows"', 'doc = "rows of a tile"'),
        ("head", '{ values = [1, 2], doc = "rows" }', "[1, 2]"),
        ("head", "# A comment of TOML.\n", ""),
        ("head", "entry =", "entry    ="),
        ("part", 'doc = "columns"', 'doc = "columns of a tile"'),
        ("part", "KR = [1]", "KR = [1, 2]"),  # of a group that it does not use
        ("part", "#pragma once", "// Of all kernels.\n#pragma once"),
    ],
)
def test_words_about_a_kernel_make_it_no_other(of: str, old: str, new: str, tmp_path: Path) -> None:
    texts = {"head": HEAD, "body": BODY, "part": PART}
    before = digest_of(tmp_path)
    assert old in texts[of]
    assert digest_of(tmp_path, **{**texts, of: texts[of].replace(old, new)}) == before


@pytest.mark.parametrize(
    ("of", "old", "new"),
    [
        ("body", "i < m", "i <= m"),
        ("body", "D[i] = VALUE;", "/* D[i] = VALUE; */"),
        ("body", "D[i]", 'D["//"[0] + i]'),
        ("head", "values = [1, 2]", "values = [1, 2, 4]"),
        ("head", "MR * NR <= 8", "MR * NR <= 16"),
        ("head", '"gemm"\narg', '"gemm2"\narg'),
        ("head", '"m", "n"', '"n", "m"'),
        ("part", "1.0f", "2.0f"),
        ("part", "values = [1, 2, 4]", "values = [1, 2]"),
    ],
)
def test_what_is_compiled_or_declared_makes_it_another(of: str, old: str, new: str, tmp_path: Path) -> None:
    texts = {"head": HEAD, "body": BODY, "part": PART}
    before = digest_of(tmp_path)
    assert old in texts[of]
    assert digest_of(tmp_path, **{**texts, of: texts[of].replace(old, new)}) != before


def test_where_the_number_of_a_line_is_compiled_a_comment_counts(tmp_path: Path) -> None:
    for lines in ("#define VALUE float(__LINE__)", "#include <cassert>\n#define VALUE (assert(true), 1.0f)"):
        part = PART.replace("#define VALUE 1.0f", lines)
        with_comment = digest_of(tmp_path, part=part)
        assert digest_of(tmp_path, body=BODY.replace("// all of them", ""), part=part) != with_comment
    # A word in a comment compiles to nothing.
    assert digest_of(tmp_path, part=PART + "// not __LINE__\n") == digest_of(tmp_path)


SAME = [
    ("a = b;  // c", "a = b;"),
    ("a /* b */ = c;", "a = c;"),
    ("a/**/b", "a b"),
    ("/* // */ a", "a"),
    ("// /*\na", "a"),
    ("// b \\\n still b\na", "a"),
    ("#define A(x) \\\n    f(x); \\\n    g(x)", "#define A(x) f(x); g(x)"),
    ("#define A 1 // one", "#define A 1"),
    ("  # define A 1", "# define A 1"),
    ("a\n\n\n  b", "a\nb"),
    ("x = 1'000'000; // it's", "x = 1'000'000;"),
    ("x = 0xF'F; y = '\"'; // \"", "x = 0xF'F; y = '\"';"),
    ("return'\"'; // \"a", "return'\"';"),
    ('u8R"(a)" // b', 'u8R"(a)"'),
    ("'\\'' // '", "'\\''"),
    ('"\\"" // "', '"\\""'),
    ("a // we'd and a'b", "a"),
    ("a /* never ended", "a"),
]
APART = [
    ('"a // b"', '"a "'),
    ('"a  b"', '"a b"'),
    ('"/*" a "*/"', '"/*" "*/"'),
    ("'//'", "''"),
    ('R"(a // b)"', 'R"(a )"'),
    ('R"x(a )" // b)x"', 'R"x(a )" )x"'),
    ('R"(a\n\n  b)"', 'R"(a\nb)"'),
    ('LR"(//)"', 'LR"()"'),
    # An identifier that ends in R begins no raw text: what follows the ordinary one is code.
    ('FOR"(" + a // )"\n', 'FOR"(" // )"\n'),
    ('x = 1\'0; y = "//"; z', "x = 1'0; y = \""),
    ('case\'"\':f("//");', "case'\"':f(\""),
    ("a b", "ab"),
    ("a - -b", "a --b"),
    ("a\nb", "a b"),
    ("#define A\nb", "#define A b"),
    ("#define A(x) #x\nA(a  + b)", "#define A(x) #x\nA(a+b)"),
    ('"a" /*\0*/', '"a"'),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_texts_of_the_same_tokens(one: str, other: str) -> None:
    assert stripped_cxx(one) == stripped_cxx(other) is not None


@pytest.mark.parametrize(("one", "other"), APART)
def test_texts_of_other_tokens(one: str, other: str) -> None:
    assert stripped_cxx(one) != stripped_cxx(other)


@pytest.mark.parametrize(
    "odd", ["/\\\n/ a", "/\\\n* a */", 'R\\\n"(a)"', "fo\\\no", "??/\n", "#include <a//b.h>"]
)
def test_what_a_text_does_not_show_counts_as_it_stands(odd: str) -> None:
    assert stripped_cxx(odd) is None


@pytest.mark.skipif(missing_compiler() is not None, reason="no C++ compiler")
def test_a_compiler_sees_the_same_tokens_in_the_lab_s_own_files_without_their_comments() -> None:
    """The compiler's own lexer takes the comments out; of each file as one unit, nothing included."""
    compiler = require_compiler()
    flags = ["-x", "c++", "-std=c++17", "-fpreprocessed", "-dD", "-E", "-P", "-"]

    def tokens(text: str) -> list[str]:
        done = subprocess.run([*compiler, *flags], input=text, capture_output=True, text=True, check=True)
        return re.findall(r"\w+|[^\s\\]", done.stdout)  # it leaves spliced lines of macros as they are

    files = sorted(p for p in CUDA_SRC.rglob("*") if p.suffix in (".h", ".cuh", ".cu", ".cpp"))
    for path in random.Random(1).sample(files, 25):
        plain = stripped_cxx(path.read_text())
        assert plain is not None, path
        plain = re.sub("\0\\d+\0", "", plain)
        assert tokens(plain) == tokens(path.read_text()), path
        assert "//" not in re.sub(r'"(?:\\.|[^"\\])*"', "", plain)


PYTHON = '''"""What it is."""

import numpy as np  # arrays


class K(Kernel):
    """More words."""

    name = "k"
    summary = (
        "one "
        "line"
    )

    def lower(self, a):
        """What it does."""
        # Why.
        return f(
            a,  # the first
            "# no comment",
        )
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # arrays", ""),
        ("What it is.", "What it was."),
        ("        # Why.\n", "\n\n"),
        ('        """What it does."""\n', ""),
        ('(\n        "one "\n        "line"\n    )', '"another line"'),
        ("a,  # the first\n            ", "a, "),
        ("\n", "\r\n"),
    ],
)
def test_words_in_python_do_not_count(old: str, new: str) -> None:
    assert old in PYTHON
    assert stripped_python(PYTHON.replace(old, new)) == stripped_python(PYTHON) is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"# no comment"', '"# n"'),
        ('"# no comment"', '"#  no comment"'),
        ('name = "k"', 'name = "l"'),
        ("        return", "            return"),
        ("import numpy as np", 'summary = "of no class"'),
        ("        # Why.\n", "        summary = 'a local one'\n"),
    ],
)
def test_the_rest_of_python_does(old: str, new: str) -> None:
    assert old in PYTHON
    assert stripped_python(PYTHON.replace(old, new)) != stripped_python(PYTHON)


def test_python_that_reads_its_own_text_counts_as_it_stands() -> None:
    for odd in ("print(__doc__)", "inspect.getsource(f)", 'f"{d["#"]}"'):
        assert stripped_python(f"{odd}\n") is None
    for plain in ('f"{{#}}{a}"  # b', "x = {'a': '#'}  # b", 'r"\\"  # a"'):
        assert stripped_python(plain) is not None


def test_kernels_that_are_what_they_were_keep_the_digest_of_before(tmp_path: Path) -> None:
    """Trials that are stored under it are theirs still."""
    known = json.loads(Path(identity._EARLIER).read_text())
    kept = 0
    for kernel in registry.kernels().values():
        now = kernel.digest
        files = read(kernel.source_files())
        declared = kernel.header.declared if isinstance(kernel, SourceKernel) else None
        kept += now in known.values()
        assert kernel_identity(files, declared) == now
    assert kept > 0 and all(re.fullmatch("[0-9a-f]{16}", text) for pair in known.items() for text in pair)


def test_the_table_of_before_names_a_digest_once_and_only_while_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none.json").write_text("{}")
    monkeypatch.setattr(identity, "_EARLIER", tmp_path / "none.json")
    identity._earlier.cache_clear()
    try:
        now = digest_of(tmp_path)
        before = as_it_stands(read(registry.source_kernel(tmp_path / "k.cpp").source_files()))
        (tmp_path / "table.json").write_text(json.dumps({now: before}))
        monkeypatch.setattr(identity, "_EARLIER", tmp_path / "table.json")
        identity._earlier.cache_clear()
        assert digest_of(tmp_path) == before
        assert digest_of(tmp_path, body=BODY.replace("// all of them", "")) == before
        assert digest_of(tmp_path, body=BODY.replace("i < m", "i <= m")) not in (now, before)
    finally:
        identity._earlier.cache_clear()


def test_all_of_the_lab_s_own_files_are_understood() -> None:
    for path in [*CUDA_SRC.rglob("*"), *SCHEDULES.rglob("*.py")]:
        if path.suffix in (".h", ".cuh", ".cu", ".cpp"):
            assert stripped_cxx(path.read_text()) is not None, path
        elif path.suffix == ".py":
            assert stripped_python(path.read_text()) is not None, path
