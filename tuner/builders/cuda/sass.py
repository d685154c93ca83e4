"""What the machine code of a kernel does: its main loop, counted.

`nvdisasm` (in Triton's wheel, or on PATH) prints SASS with labels; a branch to an earlier address closes a
loop. The main loop is the innermost one that does the kernel's arithmetic; the width of global loads is that
of the innermost loop around it that loads from global memory.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tuner.core.errors import BuildError

_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*);")
_LABEL = re.compile(r"^(\.L_\w+):")
_TARGET = re.compile(r"`\((\.L_\w+)\)")
# Multiply-adds of a warp's tensor operation by its shape, m n k run together.
_SHAPES = {
    "884": 8 * 8 * 4, "1688": 16 * 8 * 8, "16816": 16 * 8 * 16, "16832": 16 * 8 * 32,
    "8816": 8 * 8 * 16, "8832": 8 * 8 * 32,
}  # fmt: skip
# Of a warpgroup (wgmma); operands come from shared memory: `gdesc` stands for two of them, or for B alone.
_GROUP = ("HGMMA", "IGMMA", "QGMMA")
_WIDE = re.compile(r"(\d+)x(\d+)x(\d+)")  # HGMMA.64x128x16


@dataclass(frozen=True, slots=True)
class SassInstruction:
    """One instruction: its address, operation with modifiers (`LDG.E.128`), operands, label it jumps to."""

    address: int
    operation: str
    operands: str
    target: str = ""

    @property
    def name(self) -> str:
        """The operation without modifiers."""
        return self.operation.split(".", 1)[0]


@dataclass(frozen=True, slots=True)
class Loop:
    """Counts over one loop body, a thread and an iteration.

    Attributes:
        instructions: all of them.
        math: multiply-adds: FFMA, HFMA2, DFMA, dot products, tensor-core operations; IMAD where a kernel has
            none of those.
        tensor: those on tensor cores.
        group: those of them that are a warpgroup's (wgmma).
        macs: multiply-adds of one thread (a warp's tensor operation over 32, a warpgroup's over 128).
        shared_loads, shared_bytes: loads from shared memory and their bytes, those that a warpgroup's
            operations read themselves included.
        barriers: of the block.
        load_bits: width of most of the bytes loaded from global memory, by the loop around it that loads any.
        load_bytes: bytes a thread loads from global memory in that loop.
        load_macs: multiply-adds of a thread in that loop's code.
    """

    instructions: int
    math: int
    tensor: int
    group: int
    macs: float
    shared_loads: int
    shared_bytes: int
    barriers: int
    load_bits: int
    load_bytes: int
    load_macs: float

    @property
    def math_share(self) -> float:
        """Share of the loop's instructions that are multiply-adds or tensor-core operations."""
        return self.math / self.instructions if self.instructions else 0.0


@cache
def disassembler() -> str | None:
    """The path of `nvdisasm`: in Triton's wheel (which is not imported for it), else on PATH."""
    spec = importlib.util.find_spec("triton")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        tool = Path(folder) / "backends" / "nvidia" / "bin" / "nvdisasm"
        if tool.exists():
            return str(tool)
    return shutil.which("nvdisasm")


def disassemble(cubin: Path) -> str:
    """The SASS of a cubin as text.

    Raises:
        BuildError: there is no `nvdisasm`, or it fails.
    """
    tool = disassembler()
    if tool is None:
        raise BuildError("no nvdisasm: it comes with Triton's wheel or the CUDA toolkit")
    # Without the dataflow analysis it takes half the time; labels are those of the branches all the same.
    done = subprocess.run([tool, "-c", "-ndf", str(cubin)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise BuildError(f"nvdisasm: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def instructions(text: str, entry: str) -> tuple[list[SassInstruction], dict[str, int]]:
    """The instructions of one kernel, and the address each label stands before."""
    found: list[SassInstruction] = []
    labels: dict[str, int] = {}
    waiting: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith(".text."):
            inside = line.strip() == f".text.{entry}:"
        elif not inside:
            continue
        elif match := _LABEL.match(line):
            waiting.append(match[1])
        elif match := _LINE.match(line):
            address = int(match[1], 16)
            labels.update((label, address) for label in waiting)
            waiting.clear()
            target = _TARGET.search(match[4])
            found.append(SassInstruction(address, match[3], match[4].strip(), target[1] if target else ""))
    return found, labels


def _macs(instruction: SassInstruction) -> float:
    """Multiply-adds of one thread; 0 for what is none: a 32nd of a warp's operation, a 128th of a group's."""
    name, modifiers = instruction.name, instruction.operation.split(".")[1:]
    if name in ("HMMA", "IMMA", "DMMA", "QMMA"):
        return next((_SHAPES[m] for m in modifiers if m in _SHAPES), 0) / 32
    if name in _GROUP:
        shape = _WIDE.search(instruction.operation)
        return int(shape[1]) * int(shape[2]) * int(shape[3]) / 128 if shape else 0
    if name in ("FFMA", "DFMA"):
        return 1
    if name == "FFMA2":
        return 2
    if name == "HFMA2":
        # With RZ as a factor it is ptxas's way to write a constant on the half-precision pipe.
        return 0 if "RZ, RZ" in instruction.operands else 2
    if name == "IDP":
        return 4 if "4A" in modifiers else 2
    return 0


def _is_tensor(instruction: SassInstruction) -> bool:
    return instruction.name.endswith("MMA") and instruction.name != "FMMA"


def _operand_bytes(instruction: SassInstruction) -> float:
    """Bytes that a warpgroup's operation reads from shared memory, of one thread: 32 bytes of depth a row or
    column."""
    shape = _WIDE.search(instruction.operation)
    if instruction.name not in _GROUP or shape is None:
        return 0
    from_registers = instruction.operands.count(",") > 2
    return 32 * (int(shape[2]) + (0 if from_registers else int(shape[1]))) / 128


def _is_integer_mac(instruction: SassInstruction) -> bool:
    return instruction.operation == "IMAD" and "RZ" not in instruction.operands


def _bytes(instruction: SassInstruction) -> int:
    for modifier in instruction.operation.split("."):
        if modifier in ("32", "64", "128", "256"):
            return int(modifier) // 8
        if modifier in ("U8", "S8"):
            return 1
        if modifier in ("U16", "S16"):
            return 2
        if modifier.startswith("M88") or modifier.startswith("MT88"):  # LDSM.16.M88.4: 16 bytes a lane
            return 4 * (int(instruction.operation[-1]) if instruction.operation[-1] in "24" else 1)
    return 4


def _global_loads(body: Sequence[SassInstruction]) -> list[int]:
    return [_bytes(i) for i in body if i.name in ("LDG", "LDGSTS")]


def _cut(span: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether a shorter span lies across an end of this one.

    Loops lie within each other or apart. Such a jump back is from code that the compiler moved behind
    everything, for what is taken rarely, to where it left.
    """
    crossing = span[0] < other[0] < span[1] < other[1] or other[0] < span[0] < other[1] < span[1]
    return crossing and other[1] - other[0] < span[1] - span[0]


def main_loop(text: str, entry: str) -> Loop | None:
    """The main loop of a kernel in SASS text; `None` where no loop does arithmetic."""
    code, labels = instructions(text, entry)
    place = {instruction.address: i for i, instruction in enumerate(code)}
    spans = []
    for end, instruction in enumerate(code):
        begin = place.get(labels.get(instruction.target, -1))
        if instruction.name == "BRA" and begin is not None and begin < end:
            spans.append((begin, end + 1))
    macs = [_macs(i) or float(_is_tensor(i)) for i in code]
    if not any(macs):
        macs = [float(_is_integer_mac(i)) for i in code]
    sums = [sum(macs[b:e]) for b, e in spans]
    if not sums or max(sums) == 0:
        return None
    # Code for aligned and for ragged matrices holds the same arithmetic twice: wide loads tell them apart.
    whole = [t for s, t in zip(spans, sums, strict=True) if t and not any(_cut(s, other) for other in spans)]
    most = max(whole or sums)
    candidates = [span for span, total in zip(spans, sums, strict=True) if 2 * total >= most]

    def loading(span: tuple[int, int]) -> tuple[int, int]:
        around = [s for s in spans if s[0] <= span[0] and span[1] <= s[1]]
        around.sort(key=lambda s: s[1] - s[0])
        return next((s for s in around if _global_loads(code[s[0] : s[1]])), (0, len(code)))

    def width(span: tuple[int, int]) -> int:
        begin, end = loading(span)
        loads = _global_loads(code[begin:end])
        return 8 * max(set(loads), key=lambda size: (size * loads.count(size), size)) if loads else 0

    innermost = [
        s for s in candidates if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in candidates)
    ]
    begin, end = min(innermost, key=lambda span: (-width(span), span[1] - span[0]))
    # The compiler may have unrolled the ragged one further, eight times at most, and not the other.
    apart = [span for span, total in zip(spans, sums, strict=True)
             if 8 * total >= most and (span[1] <= begin or end <= span[0])]  # fmt: skip
    elsewhere = [span for span in apart if width(span) > width((begin, end))]
    if elsewhere:
        begin, end = min(elsewhere, key=lambda span: (-width(span), span[1] - span[0]))
    body, (outer_begin, outer_end) = code[begin:end], loading((begin, end))
    shared = [i for i in body if i.name in ("LDS", "LDSM")]
    return Loop(
        instructions=len(body),
        math=sum(1 for m in macs[begin:end] if m),
        tensor=sum(map(_is_tensor, body)),
        macs=sum(macs[begin:end]),
        shared_loads=len(shared),
        group=sum(1 for i in body if i.name in _GROUP),
        shared_bytes=sum(map(_bytes, shared)) + int(sum(map(_operand_bytes, body))),
        barriers=sum(1 for i in body if i.name == "BAR"),
        load_bits=width((begin, end)),
        load_bytes=sum(_global_loads(code[outer_begin:outer_end])),
        load_macs=sum(macs[outer_begin:outer_end]),
    )


def local_bytes(text: str, entry: str) -> int:
    """Bytes of loads from and stores to local memory in a kernel's code: what spilling costs."""
    return sum(_bytes(i) for i in instructions(text, entry)[0] if i.name in ("LDL", "STL"))
