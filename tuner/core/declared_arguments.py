"""The arguments of a declaration (`tuner.core.source_kernel`): names, typed expressions, structs by value.

- `A`: a tensor, a dimension, an option with a number, or a workspace;
- `int64: m * k`: a number of one of the types below, an expression over dimensions, options and parameters;
- `struct: A, int32: m, float32: alpha`: fields in order, with C's alignment, passed by value.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from tuner.core.brief import brief
from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.expression import parse
from tuner.core.kernel import Argument

Number = Literal["int32", "int64", "float32"]
_TYPED = re.compile(rf"\s*({'|'.join(get_args(Number))})\s*:\s*(.+)", re.DOTALL)
_LARGEST = {"int32": 2**31 - 1, "int64": 2**63 - 1}
_STRUCT = re.compile(r"\s*struct\s*:\s*(.+)", re.DOTALL)


def check_arguments(declared: Sequence[str]) -> None:
    """Raises `InvalidSpace` for one that is of no form above."""
    for text in declared:
        if struct := _STRUCT.fullmatch(text):
            for part in _fields(struct[1]):
                if _STRUCT.fullmatch(part):
                    raise InvalidSpace(
                        f"arguments: a struct has numbers and tensors as fields, not {brief(part)}"
                    )
            check_arguments(_fields(struct[1]))
        elif typed := _TYPED.fullmatch(text):
            try:
                parse(typed[2])
            except InvalidSpace as error:
                raise InvalidSpace(f"arguments: {brief(text)}: {error}") from None
        elif not re.fullmatch(r"[A-Za-z_]\w*", text):
            known = "a name, int32: EXPRESSION (or int64, float32), or struct: FIELD, ..."
            raise InvalidSpace(f"arguments: {brief(text)} is not {known}")


def read_argument(text: str, named: Callable[[str], Argument], scope: Mapping[str, Any]) -> Argument:
    """One argument.

    Args:
        text: as declared.
        named: what a name alone stands for.
        scope: of expressions.

    Raises:
        InvalidConfig: its value is no number, or too large for its type.
    """
    if struct := _STRUCT.fullmatch(text):
        fields = tuple(read_argument(part, named, scope) for part in _fields(struct[1]))
        return Argument("struct", "struct", None, fields)
    if typed := _TYPED.fullmatch(text):
        kind: Any = typed[1]
        value = parse(typed[2])(scope)
        if isinstance(value, str) or (
            kind in _LARGEST and not -_LARGEST[kind] - 1 <= value <= _LARGEST[kind]
        ):
            raise InvalidConfig(f"argument {brief(text)}: {kind} does not hold {brief(value)}")
        return Argument(typed[2].strip(), kind, float(value) if kind == "float32" else int(value))
    return named(text)


def names_in(declared: Sequence[str]) -> Iterator[str]:
    """The arguments and fields that are names alone."""
    for text in declared:
        if struct := _STRUCT.fullmatch(text):
            yield from names_in(_fields(struct[1]))
        elif not _TYPED.fullmatch(text):
            yield text


def checked_only(declared: Mapping[str, Any]) -> str | None:
    """What of a declaration no device does yet, only the emulator of `tuner check`."""
    if declared.get("initial"):
        return (
            f"it changes {min(declared['initial'])} in place: 'tuner check' runs it, no device times it yet"
        )
    if declared.get("constants"):
        return "its constant arrays are filled by 'tuner check' only, no device does so yet"
    if text := computed_argument(declared["arguments"]):
        return f"argument {brief(text)} is computed from the shape: 'tuner check' runs it, no device does yet"
    return None


def check_beginnings(declared: Mapping[str, Any]) -> None:
    """Raises `InvalidSpace` for `[constants]`, `[initial]` and `accumulator` that say nothing."""
    for name, value in declared.get("constants", {}).items():
        numbers = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
        if not (numbers or isinstance(value, str)):
            raise InvalidSpace(f"[constants] {brief(name)} is a tensor's name or a list of numbers")
    for name, value in declared.get("initial", {}).items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidSpace(f"[initial] {brief(name)} is a tensor's name or a number, not {brief(value)}")
    if declared.get("accumulator", "f32") not in ("f16", "bf16", "f32"):
        raise InvalidSpace(f"accumulator is f16, bf16 or f32, not {brief(declared['accumulator'])}")


def computed_argument(declared: Sequence[str]) -> str | None:
    """The first argument that is computed from the shape: a struct, or an expression."""
    for text in declared:
        typed = _TYPED.fullmatch(text)
        if _STRUCT.fullmatch(text) or (typed and not re.fullmatch(r"\w+", typed[2].strip())):
            return text
    return None


def _fields(text: str) -> list[str]:
    parts, depth = [""], 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]


def layout(fields: Sequence[Argument]) -> tuple[int, tuple[int, ...]]:
    """Bytes of a struct, and the offset of each field: each at a multiple of its size, as in C."""
    offsets, end, widest = [], 0, 1
    for item in fields:
        size = 4 if item.kind in ("int32", "float32") else 8
        end = -(-end // size) * size
        offsets.append(end)
        end, widest = end + size, max(widest, size)
    return -(-end // widest) * widest, tuple(offsets)
