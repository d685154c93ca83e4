"""Findings of the emulator's sanitizers: what was found, where, by whom.

The emulator writes fixed-size records (`cuda_src/emulator/runtime/findings.h`); here code addresses become
files and lines, numbers become blocks and threads, and records of one defect become one finding.
"""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.core.places import CUDA_SRC

EMULATOR = CUDA_SRC / "emulator"

KINDS = {
    1: "out_of_bounds_global", 2: "out_of_bounds_shared", 3: "out_of_bounds_local", 4: "race_shared",
    5: "race_global", 6: "barrier_divergence", 7: "warp_divergence", 8: "uninitialized_shared",
    9: "uninitialized_global", 10: "misaligned", 11: "deadlock", 12: "crash", 13: "trap",
    14: "missing_fence", 15: "not_waited_for",
}  # fmt: skip
OTHER_KINDS = ("launch_limits", "host_code", "timeout", "input_modified")
"""Kinds that do not come from the emulator's runtime."""
_NOBODY = 0xFFFFFFFF

Index = tuple[int, int, int]


class SanitizerRecord(ctypes.Structure):
    """`Finding` of findings.h."""

    _fields_ = (
        ("kind", ctypes.c_uint32), ("count", ctypes.c_uint32), ("pc", ctypes.c_uint64),
        ("pc2", ctypes.c_uint64), ("address", ctypes.c_uint64), ("offset", ctypes.c_int64),
        ("size", ctypes.c_uint32), ("access", ctypes.c_uint32), ("access2", ctypes.c_uint32),
        ("object", ctypes.c_int32), ("thread", ctypes.c_uint32), ("thread2", ctypes.c_uint32),
        ("extra", ctypes.c_uint32), ("extra2", ctypes.c_uint32), ("line", ctypes.c_uint32),
        ("column", ctypes.c_uint32), ("file", ctypes.c_char * 96), ("text", ctypes.c_char * 96),
    )  # fmt: skip


class LogHeader(ctypes.Structure):
    """The beginning of `FindingLog` of findings.h."""

    _fields_ = (("capacity", ctypes.c_uint32), ("used", ctypes.c_uint32), ("dropped", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class CodePlace:
    """A thread at a line: `block` and `thread` are indices x, y, z; `None` where no thread is to blame."""

    file: str
    line: int
    block: Index | None = None
    thread: Index | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"file": self.file, "line": self.line, "block": self.block, "thread": self.thread}

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        if self.block is None or self.thread is None:
            return where
        return f"{where}, block {_index(self.block)} thread {_index(self.thread)}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect.

    Attributes:
        kind: one of `KINDS` or `OTHER_KINDS`.
        kernel: the entry.
        message: what happened, in words, the first time.
        place: where, and by which thread.
        other: of a race the earlier access, of a barrier a thread that was elsewhere.
        count: how often it happened.
    """

    kind: str
    kernel: str
    message: str
    place: CodePlace
    other: CodePlace | None = None
    count: int = 1

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.place}: {self.kind}: {self.message}{times}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "kind": self.kind, "kernel": self.kernel, "message": self.message, "count": self.count,
            "place": self.place.as_dict(), "other": self.other.as_dict() if self.other else None,
        }  # fmt: skip


def _index(index: Index) -> str:
    return f"({index[0]}, {index[1]}, {index[2]})"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor the kernel may touch: name, bytes, bytes of an element."""

    name: str
    bytes: int
    granule: int


@dataclass(frozen=True)
class LaunchContext:
    """What turns numbers into words.

    Attributes:
        library: with debug information.
        kernel: the entry.
        grid, block: of the launch.
        tensors: in the order they were made known.
        variables: shared variables, likewise: `name`, `offset`, `size`.
        includes: folders whose files are named relative to them.
        source: the text that was compiled, for telling local arrays from shared ones.
        generated: by a code generator, not written by a person.
    """

    library: Path
    kernel: str
    grid: Index
    block: Index
    tensors: Sequence[TensorInfo]
    variables: Sequence[Mapping[str, Any]]
    includes: Sequence[str]
    source: str
    generated: bool = False


def read_log(path: Path) -> list[SanitizerRecord]:
    """The records of a log, complete ones only, of kinds that are known: a stray write may have hit it."""
    data = path.read_bytes()
    start, size = ctypes.sizeof(LogHeader), ctypes.sizeof(SanitizerRecord)
    if len(data) < start:
        return []
    used = min(LogHeader.from_buffer_copy(data).used, (len(data) - start) // size)
    records = (SanitizerRecord.from_buffer_copy(data, start + i * size) for i in range(used))
    return [record for record in records if record.kind in KINDS]


def resolve(context: LaunchContext, addresses: Sequence[int]) -> dict[int, tuple[tuple[str, int], ...]]:
    """Code addresses as chains of (file, line): the innermost frame of the user's own files first.

    Frames in the emulator's headers are left out, so what a header does on behalf of a kernel is placed where
    the kernel called it. Needs addr2line (binutils, as g++ does).
    """
    wanted = sorted({a for a in addresses if a})
    tool = shutil.which("addr2line")
    if not wanted or tool is None:
        return {}
    # The recorded address is of the instruction after the call.
    arguments = [hex(a - 1) for a in wanted]
    shown = subprocess.run([tool, "-a", "-i", "-e", str(context.library), *arguments],
                           capture_output=True, text=True, timeout=60).stdout  # fmt: skip
    chains: list[list[tuple[str, int]]] = []
    for line in shown.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", line):
            chains.append([])
        elif chains and (match := re.match(r"(.*):(\d+)", line)):
            chains[-1].append((match[1], int(match[2])))
    return {
        address: tuple((_shown_file(context, f), n) for f, n in chain if _is_user(f))
        for address, chain in zip(wanted, chains, strict=False)
    }


def _is_user(file: str) -> bool:
    return file != "??" and not Path(file).is_relative_to(EMULATOR) and not file.endswith("/declaration")


def _shown_file(context: LaunchContext, file: str) -> str:
    path = Path(file)
    for folder in context.includes:
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return path.name


def place_of(
    context: LaunchContext, chains: Mapping[int, tuple[tuple[str, int], ...]], pc: int, thread: int
) -> CodePlace:
    """A record's code address and thread number as a place."""
    chain = chains.get(pc, ())
    file, line = chain[0] if chain else (f"{context.kernel}", 0)
    if thread == _NOBODY:
        return CodePlace(file, line)
    size = context.block[0] * context.block[1] * context.block[2]
    return CodePlace(file, line, unravel(thread // size, context.grid), unravel(thread % size, context.block))


def unravel(number: int, shape: Index) -> Index:
    """x, y, z of a number that counts x first."""
    return (number % shape[0], number // shape[0] % shape[1], number // shape[0] // shape[1])


def nobody(thread: int) -> bool:
    """Whether a record names no thread here."""
    return thread == _NOBODY
