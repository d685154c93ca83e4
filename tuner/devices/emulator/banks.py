"""Bank conflicts of shared memory by line, as the emulator counts them (`runtime/banks.cpp`)."""

import ctypes
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.devices.emulator.findings import LaunchContext, resolve


class BankRecord(ctypes.Structure):
    """`BankRecord` of banks.cpp."""

    _fields_ = (
        ("pc", ctypes.c_uint64), ("requests", ctypes.c_uint64), ("conflicts", ctypes.c_uint64),
        ("worst", ctypes.c_uint32), ("writes", ctypes.c_uint32),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BankUse:
    """What the warps of a launch did to the banks of shared memory at one line.

    Attributes:
        file, line: where.
        access: `read` or `write`.
        requests: of warps; a matrix of `ldmatrix` or `stmatrix` is one.
        conflicts: turns beyond the first, over all requests; 0 is the best there is.
        worst: turns of the worst request.
    """

    file: str
    line: int
    access: str
    requests: int
    conflicts: int
    worst: int

    def __str__(self) -> str:
        what = f"{self.conflicts} bank conflicts in {self.requests} requests to {self.access}"
        return f"{self.file}:{self.line}: {what}, {self.worst}-way at worst"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def read_banks(path: Path, context: LaunchContext) -> list[BankUse]:
    """What a child left in a file: by line and access, those with most conflicts first."""
    data = path.read_bytes() if path.exists() else b""
    size = ctypes.sizeof(BankRecord)
    records = [BankRecord.from_buffer_copy(data, at) for at in range(0, len(data) - size + 1, size)]
    chains = resolve(context, [record.pc for record in records])
    merged: dict[tuple[str, int, str], BankUse] = {}
    for record in records:
        chain = chains.get(record.pc, ())
        file, line = chain[0] if chain else (context.kernel, 0)
        access = "write" if record.writes else "read"
        found = BankUse(file, line, access, record.requests, record.conflicts, record.worst)
        known = merged.get((file, line, access))
        merged[file, line, access] = found if known is None else replace(
            known, requests=known.requests + found.requests, conflicts=known.conflicts + found.conflicts,
            worst=max(known.worst, found.worst),
        )  # fmt: skip
    return sorted(merged.values(), key=lambda use: (-use.conflicts, use.file, use.line, use.access))
