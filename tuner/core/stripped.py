"""Source text without what no compiler looks at: comments, indentation, blank lines.

What is left is not compiled, only compared: it may be odd to read, but two texts that compile to different
things are never stripped to one. Literals stay as they are, to the last blank. In C and C++ a line stays a
line and a blank between two tokens a blank, since a macro may make text of its arguments (`#x`), in which any
run of blanks and comments is one blank (C++17 [cpp.stringize]).

`None` is returned where a text is beyond these rules: it then counts as it stands.
"""

import re

# Each branch begins with a character of its own, so that the search skips what begins with none.
_LITERALS = r"""
  (?P<comment> //(?:\\[ \t\f\v]*\n|[^\n])* | /\*.*?(?:\*/|\Z) )
| R(?:(?<![A-Za-z0-9_]R)|(?<=\bu8R)|(?<=\b[uUL]R))"(?P<mark>[^()\\\s"]{0,16})\(.*?\)(?P=mark)"
| "(?:\\.|[^"\\\n])*"
| '(?:\\.|[^'\\\n])*'
"""
_CXX = re.compile(_LITERALS, re.DOTALL | re.VERBOSE)
# Numbers, where some have separators: a quote in 1'000 begins no character.
_CXX_NUMBERS = re.compile(
    rf"{_LITERALS} | (?P<number> (?<![A-Za-z0-9_]) \.?[0-9] (?:[eEpP][+-] | '?[A-Za-z0-9_.])*)",
    re.DOTALL | re.VERBOSE,
)
_SEPARATED = re.compile(r"[0-9A-Fa-f]'[0-9A-Fa-f]")
# A line spliced within a token, which is then not seen; trigraphs; header names with a comment's signs.
_ODD_CXX = re.compile(r"\S\\[ \t\f\v]*\n\S|[/*R\"'\\]\\[ \t\f\v]*\n|\?\?[/']|include[^\n]*<[^>\n]*/[/*]|\0")
_SPLICE = re.compile(r"\\[ \t\f\v]*\n")
_BLANKS = re.compile(r"[ \t\f\v]+")
_LINE_ENDS = re.compile(r" ?\n[ \n]*")

_PYTHON = re.compile(
    r"""(?P<comment>\#[^\n]*) | (?P<quotes>\"{3}|'{3}) (?:\\.|.)*? (?P=quotes)
      | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""",
    re.DOTALL | re.VERBOSE,
)
_FORMATTED = re.compile(r"(?<![A-Za-z0-9_])[rR]?[fFtT][rR]?\Z")
# What reads a program's own text or the places in it.
_ODD_PYTHON = re.compile(r"__doc__|getsource|getdoc|linecache|lineno|\0")
_DOC = re.compile(r"[ \t]*[rRuU]?\0\d+\0")
_SUMMARY = re.compile(r"(?: {4}|\t)summary(?:[ \t]*:[^=\n]+)?[ \t]*=[ \t]*\(?[\0\d \t]+\)?")


def stripped_cxx(text: str) -> str | None:
    """C, C++ or CUDA source without comments and blank space.

    Args:
        text: with any system's line ends.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _ODD_CXX.search(text):
        return None
    tokens = _CXX_NUMBERS if _SEPARATED.search(text) else _CXX
    code, literals = _taken_apart(text, tokens)
    code = _BLANKS.sub(" ", _SPLICE.sub(" ", code))
    return _put_together(_LINE_ENDS.sub("\n", code).strip(), literals)


def stripped_python(text: str) -> str | None:
    """Python source without comments, docstrings, blank lines, and the `summary` of a class.

    Indentation stays, but for lines within brackets, which are part of the one before.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _ODD_PYTHON.search(text):
        return None
    code, literals = _taken_apart(text, _PYTHON)
    for number, literal in enumerate(literals):
        before = code.partition(f"\0{number}\0")[0] if "{" in literal else ""
        # From Python 3.12 on a formatted text may hold others with the same quotes.
        if _FORMATTED.search(before[-4:]) and not _balanced(literal):
            return None
    lines: list[str] = []
    depth, goes_on = 0, False
    for line in code.split("\n"):
        line = line.rstrip()
        if not line.strip():
            continue
        if depth or goes_on:
            lines[-1] += " " + _BLANKS.sub(" ", line.strip())
        else:
            lines.append(line)
        depth += sum(line.count(c) for c in "([{") - sum(line.count(c) for c in ")]}")
        goes_on = line.endswith("\\")
    kept, outermost = [], ""
    for line in lines:
        outermost = line if line[0] not in " \t" else outermost
        about = outermost.startswith("class ") and _SUMMARY.fullmatch(line)
        if not (about or _DOC.fullmatch(line)):
            kept.append(line)
    return _put_together("\n".join(kept), literals)


def _balanced(literal: str) -> bool:
    plain = literal.replace("{{", "").replace("}}", "")
    return plain.count("{") == plain.count("}")


def _taken_apart(text: str, tokens: re.Pattern[str]) -> tuple[str, list[str]]:
    """The text with a blank for each comment and a mark for each literal; the literals."""
    literals: list[str] = []

    def mark(match: re.Match[str]) -> str:
        if match["comment"] is not None:
            return " "
        if match.lastgroup == "number":
            return match[0]
        literals.append(match[0])
        return f"\0{len(literals) - 1}\0"

    return tokens.sub(mark, text), literals


def _put_together(code: str, literals: list[str]) -> str:
    """The marks give way to their literals, with the length of each before it: nothing in one ends it."""

    def literal(match: re.Match[str]) -> str:
        found = literals[int(match[1])]
        return f"\0{len(found)}\0{found}"

    return re.sub(r"\0(\d+)\0", literal, code)
