"""The template of an asm statement as instructions: PTX ISA chapter 4, as far as inline PTX goes."""

import re
from dataclasses import dataclass, field

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_LABEL = re.compile(r"\s*([A-Za-z_$][\w$]*(?:%=)?)\s*:(?!:)")
_GUARD = re.compile(r"@(!?)\s*(%?[\w$%]+)\s+")
# Scopes are translated by recursion: deeper than people write, and well inside Python's limit.
_DEEPEST = 50
_REG = re.compile(r"\.reg\s*\.(\w+)\s+(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        text: as written, on one line.
        opcode: with its modifiers, as `ld.global.v4.f32`.
        operands: texts: a register, a literal, `{a, b}`, `[a+16]`, `p|q`.
        guard: the predicate it depends on, with `!` where negated; empty if none.
    """

    text: str
    opcode: str
    operands: tuple[str, ...]
    guard: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """`.reg .type names`; a name may be `p<4>`, which declares p0 to p3."""

    type: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """A place to branch to."""

    name: str


@dataclass(frozen=True, slots=True)
class Scope:
    """`{ ... }`: names declared within are its own."""

    items: list["Item"] = field(default_factory=list)


Item = Instruction | Declared | Label | Scope


def read_ptx(template: str) -> list[Item]:
    """The items of a template, scopes nested.

    Raises:
        ValueError: braces that do not match.
    """
    text = _COMMENT.sub(" ", template)
    stack: list[list[Item]] = [[]]
    for piece in _pieces(text):
        if piece == "{":
            if len(stack) > _DEEPEST:
                raise ValueError(f"scopes are nested more than {_DEEPEST} deep")
            scope = Scope()
            stack[-1].append(scope)
            stack.append(scope.items)
        elif piece == "}":
            if len(stack) == 1:
                raise ValueError("a brace is closed that was not opened")
            stack.pop()
        else:
            stack[-1] += _items(piece)
    if len(stack) > 1:
        raise ValueError("a brace is not closed")
    return stack[0]


def _pieces(text: str) -> list[str]:
    """Statements and braces of scopes; braces of vectors stay within their statement."""
    pieces, piece, depth = [], "", 0
    for c in text:
        if c == "{" and not piece.strip():
            pieces.append("{")
            piece = ""
        elif c == "}" and depth == 0:
            pieces += [piece, "}"]
            piece = ""
        elif c == ";" and depth == 0:
            pieces.append(piece)
            piece = ""
        else:
            depth += (c == "{") - (c == "}")
            piece += c
            if c == ":" and _LABEL.fullmatch(piece):
                pieces.append(piece)
                piece = ""
    return [p for p in (*pieces, piece) if p.strip()]


def _items(piece: str) -> list[Item]:
    text = " ".join(piece.split())
    items: list[Item] = []
    while label := _LABEL.match(text):
        items.append(Label(label[1]))
        text = text[label.end() :].strip()
    if not text:
        return items
    if declared := _REG.match(text):
        vector = declared[1]
        return [*items, Declared(vector, tuple(name.strip() for name in declared[2].split(",")))]
    guard = _GUARD.match(text)
    body = text[guard.end() :] if guard else text
    opcode, _, rest = body.partition(" ")
    if "[" in opcode or "{" in opcode:  # no blank behind the opcode
        cut = min(i for i in (opcode.find("["), opcode.find("{")) if i >= 0)
        opcode, rest = body[:cut], body[cut:]
    return [*items, Instruction(text, opcode, tuple(_operands(rest)), (guard[1] + guard[2]) if guard else "")]


def _operands(text: str) -> list[str]:
    found, depth, current = [], 0, ""
    for c in text:
        depth += (c in "[{") - (c in "]}")
        if c == "," and depth == 0:
            found.append(current.strip())
            current = ""
        else:
            current += c
    return [item for item in (*found, current.strip()) if item]


def vector_parts(operand: str) -> list[str]:
    """The registers of `{a, b}`; one that is no vector alone."""
    if operand.startswith("{"):
        return [part.strip() for part in operand.strip("{} ").split(",")]
    return [operand]
