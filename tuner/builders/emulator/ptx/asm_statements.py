"""asm statements in preprocessed C++: where they are, and what they say.

The form: `asm volatile ("template" "..." : "=r"(output), ... : "r"(input), ... : "memory");` (CUDA Inline PTX
Assembly, 1.1 to 1.4).
"""

import ast
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.core.errors import BuildError
from tuner.core.found_files import UnreadableFile, read_file

_TOKEN = re.compile(
    r'(?P<raw>R"(?P<d>[^\s()\\]{0,16})\(.*?\)(?P=d)")|(?P<string>"(?:\\.|[^"\\\n])*")'
    r"|(?P<char>'(?:\\.|[^'\\\n])+')|(?P<number>\b\d[\w'.]*)|(?P<marker>^#[^\n]*)|(?P<newline>\n)"
    r"|(?P<asm>\b(?:asm|__asm__|__asm)\b)",
    re.DOTALL | re.MULTILINE,
)
_ASM = re.compile(r"\b(?:asm|__asm__|__asm)\b")
_INCLUDED = re.compile(r"^\s*#\s*include\s*[<\"]([^>\"\n]{1,300})[>\"]", re.MULTILINE)
_BY_MACRO = re.compile(r"^\s*#\s*include\s*[A-Za-z_]", re.MULTILINE)
_MARKER = re.compile(r'#\s*(?:line\s+)?(\d+)\s+"((?:\\.|[^"\\])*)"((?:\s+\d)*)')
_MARKERS = re.compile(r"^#[^\n]*$", re.MULTILINE)
_QUALIFIER = re.compile(r"\s*(volatile|__volatile__|__volatile|inline|goto)\b")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand: its constraint, as `=r` or `+f`, and the C++ expression."""

    constraint: str
    expression: str

    @property
    def letter(self) -> str:
        """What kind of register: h, r, l, f, d, or n and i for constants."""
        return self.constraint.lstrip("=+&%")[:1]


@dataclass(frozen=True, slots=True)
class AsmStatement:
    """An asm statement: its span in the text, its place, template and operands, outputs first."""

    start: int
    end: int
    file: str
    line: int
    lines: int
    template: str
    operands: tuple[Operand, ...]

    def error(self, message: str) -> BuildError:
        """A build error in the form of the compiler's, at this place."""
        return BuildError(f"{self.file}:{self.line}: error: {message}")


def may_hold_asm(text: str, folders: Sequence[Path]) -> bool:
    """Whether a source, or a file it includes by name from one of the folders, has the word `asm`.

    Preprocessing takes time, and most kernels have no inline PTX; a header named by a macro is taken to have.
    """
    waiting: list[tuple[str, Path | None]] = [(text, None)]
    seen: set[Path] = set()
    while waiting:
        content, beside = waiting.pop()
        if _ASM.search(content) or _BY_MACRO.search(content):
            return True
        for name in _INCLUDED.findall(content):
            for folder in (*((beside,) if beside else ()), *folders):
                path = folder / name.replace("\0", "")
                if path in seen or not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises
                    continue
                seen.add(path)
                try:
                    waiting.append((read_file(path).decode(errors="replace"), path.parent))
                except UnreadableFile:
                    continue  # the compiler will say
    return False


def asm_statements(text: str, skipped: Sequence[str]) -> Iterator[AsmStatement]:
    """The asm statements of preprocessed text, in order.

    Those in system headers and in files whose names begin with one of `skipped` are left out.

    Raises:
        BuildError: an asm statement is not of the form above; the message begins with file and line.
    """
    file, line, system, at = "", 1, False, 0
    while match := _TOKEN.search(text, at):
        at = match.end()
        kind = match.lastgroup if match.lastgroup != "d" else "raw"
        if kind == "newline":
            line += 1
        elif kind == "raw":
            line += match[0].count("\n")
        elif kind == "marker" and (place := _MARKER.match(match[0])):
            file, system = place[2], "3" in place[3].split()
            line = int(place[1]) - 1  # of the newline that ends the marker
        elif kind == "asm" and not system and not file.startswith(tuple(skipped)):
            found = _statement(text, match, file, line)
            yield found
            at = found.end
            line += found.lines


def _statement(text: str, match: re.Match[str], file: str, line: int) -> AsmStatement:
    at = match.end()
    while qualifier := _QUALIFIER.match(text, at):
        at = qualifier.end()
    start = text.find("(", at)
    place = f"{file}:{line}: error: "
    if start < 0 or text[at:start].strip():
        raise BuildError(f'{place}an asm statement is asm("..." : outputs : inputs), as inline PTX is')
    parts = _split(text, start, place)
    template = _literal(parts[0][0], place) if parts[0] else ""
    operands: list[Operand] = []
    for section in parts[1:3]:
        operands += [_operand(item, place) for item in section if item.strip()]
    end = parts.end
    return AsmStatement(match.start(), end, file, line, text.count("\n", match.start(), end), template,
                        tuple(operands))  # fmt: skip


class _Sections(list[list[str]]):
    """Comma-separated items between the colons of an asm statement, and where it ends."""

    end = 0


def _split(text: str, start: int, place: str) -> _Sections:
    """Splits `( ... : a, b : c )` at its outermost colons and commas."""
    sections = _Sections([[]])
    depth, at, begun = 0, start, start + 1
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token and token.lastgroup not in ("newline", "asm"):
            at = token.end()
            continue
        c = text[at]
        depth += (c in _OPEN) - (c in _CLOSE)
        scope = text.startswith("::", at) and depth == 1
        if scope and not _between_sections(text, at):
            at += 2
            continue
        if (depth == 1 and c in ":,") or depth == 0:
            item = _MARKERS.sub("", text[begun:at]).strip()
            if item or c == ",":
                sections[-1].append(item)
            begun = at + 1
            if depth == 0:
                sections.end = at + 1
                return sections
            if c == ":":
                sections.append([])
        at += 1
    raise BuildError(f"{place}an asm statement has no end")


def _between_sections(text: str, at: int) -> bool:
    """Whether `::` stands for an empty section, and not for a name's scope: it follows no name."""
    before = text[:at].rstrip()[-1:]
    after = text[at + 2 :].lstrip()[:1]
    return before in '")' or before in ":(" or after in '":)'


def _literal(text: str, place: str) -> str:
    """Adjacent string literals as one text."""
    parts, at = [], 0
    text = text.strip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or not (token["string"] or token["raw"]):
            raise BuildError(f"{place}the template of an asm statement is a string literal")
        if token["raw"]:
            parts.append(token["raw"].split("(", 1)[1].rsplit(")", 1)[0])
        else:
            parts.append(ast.literal_eval(token["string"]))
        at = token.end()
        while at < len(text) and text[at].isspace():
            at += 1
    return "".join(parts)


def _operand(item: str, place: str) -> Operand:
    match = re.match(r'(?:\[\w+\]\s*)?"([^"]*)"\s*\((.*)\)$', item, re.DOTALL)
    if match is None or match[1].lstrip("=+&%")[:1] not in "hrlfdniqbC":
        raise BuildError(f'{place}an operand of inline PTX is "r"(expression), not {item[:60]!r}')
    return Operand(match[1], " ".join(match[2].split()))
