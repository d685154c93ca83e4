"""Operands of PTX in C++: registers, literals, addresses, special registers."""

import re
import struct
from collections.abc import Sequence

from tuner.builders.emulator.ptx.asm_statements import AsmStatement
from tuner.builders.emulator.ptx.ptx_text import Instruction

PTX = "cuda_emulator::ptx::"
_LANE = "cuda_emulator::cuda_emu_lane()"
_THREAD = "((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x)"
_CLOCK = "cuda_emulator::cuda_emu_clock()"
_SIZE, _PLACE = (
    [f"cuda_emulator::cuda_emu_cluster_{what}({i})" for i in range(3)] for what in ("size", "place")
)

SPECIAL = {
    **{f"%tid.{x}": f"threadIdx.{x}" for x in "xyz"}, **{f"%ntid.{x}": f"blockDim.{x}" for x in "xyz"},
    **{f"%ctaid.{x}": f"blockIdx.{x}" for x in "xyz"}, **{f"%nctaid.{x}": f"gridDim.{x}" for x in "xyz"},
    "%laneid": _LANE, "%warpid": f"({_THREAD} / 32)", "%nwarpid": "32", "%smid": "0u", "%nsmid": "1u",
    "%clock": f"unsigned({_CLOCK})", "%clock64": _CLOCK, "%globaltimer": _CLOCK,
    "%globaltimer_lo": f"unsigned({_CLOCK})",
    "%lanemask_eq": f"(1u << {_LANE})", "%lanemask_lt": f"((1u << {_LANE}) - 1)",
    "%lanemask_le": f"((2u << {_LANE}) - 1)", "%lanemask_gt": f"~((2u << {_LANE}) - 1)",
    "%lanemask_ge": f"~((1u << {_LANE}) - 1)",
    **{f"%cluster_nctaid.{x}": size for x, size in zip("xyz", _SIZE, strict=True)},
    **{f"%cluster_ctaid.{x}": place for x, place in zip("xyz", _PLACE, strict=True)},
    **{f"%clusterid.{x}": f"(blockIdx.{x} / {size})" for x, size in zip("xyz", _SIZE, strict=True)},
    **{f"%nclusterid.{x}": f"(gridDim.{x} / {size})" for x, size in zip("xyz", _SIZE, strict=True)},
    "%cluster_nctarank": f"({' * '.join(_SIZE)})",
    "%cluster_ctarank": f"(({_PLACE[2]} * {_SIZE[1]} + {_PLACE[1]}) * {_SIZE[0]} + {_PLACE[0]})",
}  # fmt: skip
"""PTX ISA chapter 10; one multiprocessor, since blocks run one after the other."""

TYPES = (
    "b8", "b16", "b32", "b64", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f16", "f16x2", "bf16",
    "bf16x2", "f32", "f64",
)  # fmt: skip


class Unknown(Exception):
    """An instruction, or a modifier of it, that no table has; the argument may say more."""


def cxx_type(name: str) -> str:
    """The C++ type of a PTX type; `Unknown` if there is none."""
    name = name.lstrip(".")
    if name not in TYPES:
        raise Unknown
    return PTX + name.replace("u", "b")


class Writer:
    """What the operands of one asm statement are called in C++.

    Attributes:
        statement: for error messages.
        names: registers, `%0` included, by their names in PTX.
        predicates: those of them that are declared `.pred`.
        instruction: the one being written.
    """

    def __init__(self, statement: AsmStatement, number: int, names: dict[str, str]) -> None:
        self.statement = statement
        self.names = names
        self.predicates: set[str] = set()
        self.instruction: Instruction | None = None
        self._number = number

    def label(self, name: str) -> str:
        """A label: functions may hold several statements that use one name."""
        return f"cuda_emu_label_{self._number}_" + re.sub(r"\W", "_", name)

    def name(self, operand: str) -> str:
        """A register, special register or literal as a C++ expression.

        Raises:
            Unknown: there is none of this name.
        """
        operand = operand.strip()
        key = operand.replace("%%", "%")
        if key in self.names:
            return self.names[key]
        if key in SPECIAL:
            return SPECIAL[key]
        if match := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})", operand):
            return f"{PTX}real({PTX}b32(0x{match[1]}u))"
        if match := re.fullmatch(r"0[dD]([0-9a-fA-F]{16})", operand):
            return f"{PTX}real({PTX}b64(0x{match[1]}ull))"
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)[uU]?", operand):
            return f"{operand.rstrip('uU')}ll"
        if re.fullmatch(r"-?\d*\.\d+([eE][-+]?\d+)?", operand):
            bits = struct.unpack("<Q", struct.pack("<d", float(operand)))[0]
            return f"{PTX}real({PTX}b64({bits:#x}ull))"
        raise Unknown(f" with an operand {operand!r} that is neither a register nor a literal")

    def get(self, kind: str, operand: str) -> str:
        """The value of an operand as a PTX type."""
        return f"{PTX}get<{cxx_type(kind)}>({self.name(operand)})"

    def put(self, operand: str, value: str) -> str:
        """Assigns to a register; `_` takes anything."""
        if operand == "_":
            return f"{value};"
        return f"{PTX}put({self.name(operand)}, {value});"

    def is_predicate(self, operand: str) -> bool:
        """Whether an operand is a predicate, `!p` included."""
        return operand.lstrip("! ").replace("%%", "%") in self.predicates

    def predicate(self, operand: str) -> str:
        """A predicate, `!p` negated."""
        negated = operand.startswith("!")
        name = self.name(operand.lstrip("! "))
        return f"!{name}" if negated else f"bool({name})"

    def address(self, operand: str, space: str) -> str:
        """`[register + offset]` as a pointer; `space` is "generic", "shared" or "cluster"."""
        base, offset = self._base(operand)
        return f"{PTX}{space}({base}, {offset})"

    def window(self, operand: str) -> str:
        """`[register + offset]` as an address of 32 bits in shared memory."""
        base, offset = self._base(operand)
        return f"{PTX}window({base}, {offset})"

    def _base(self, operand: str) -> tuple[str, str]:
        match = re.fullmatch(r"\[\s*([^\]+]+?)\s*(?:\+\s*([^\]]+?)\s*)?\]", operand)
        if match is None:
            raise Unknown(f" with an address {operand!r}")
        return self.name(match[1]), f"(long long)({self.name(match[2])})" if match[2] else "0"


def take(modifiers: list[str], *wanted: str) -> str:
    """Removes the one of `wanted` that is among the modifiers; empty if none is."""
    for word in wanted:
        if word in modifiers:
            modifiers.remove(word)
            return word
    return ""


def nothing_left(modifiers: Sequence[str]) -> None:
    """Raises `Unknown` where a modifier was not understood."""
    if modifiers:
        raise Unknown(f" with {modifiers[0]}")
