"""Resources of the kernels in a cubin, read from its ELF sections: no tool, no driver.

A cubin is an ELF64 file. Of a kernel `f`, section `.text.f` holds the code, with the registers a thread in
the top byte of its `sh_info`; `.nv.shared.f` is as large as its static shared memory; section `.nv.info`
lists attributes of all functions, a 4-byte head (format, attribute, size) and then, for the ones read
here, symbol index and value. From sm_90 on, `.nv.shared.f` begins with the kibibyte that the system keeps
for itself in each block (`cudaDeviceProp.reservedSharedMemPerBlock`); the section `.nv.shared.reserved.0`
tells. Checked against `cuobjdump -res-usage` in the tests, which counts that kibibyte too.
"""

import struct
from dataclasses import dataclass

from tuner.core.elf import Elf

_SIZED = 0x04  # format of an attribute with a payload of its own
_RESERVED_SHARED = 1024
_FRAME_SIZE, _REGISTERS = 0x11, 0x2F  # EIATTR_FRAME_SIZE, EIATTR_REGCOUNT as cuobjdump -elf names them


@dataclass(frozen=True, slots=True)
class Resources:
    """What one kernel takes: registers a thread, bytes of static shared memory, stack a thread, code."""

    registers: int
    static_shared_bytes: int
    stack_bytes: int
    code_bytes: int


def entries(cubin: bytes) -> list[str]:
    """The names of the kernels in a cubin."""
    return [s.name.removeprefix(".text.") for s in Elf(cubin).sections if s.name.startswith(".text.")]


def resources(cubin: bytes, entry: str) -> Resources:
    """What the kernel `entry` takes.

    Raises:
        ValueError: this is no cubin, or it has no such kernel.
    """
    elf = Elf(cubin)
    code = elf.section(f".text.{entry}")
    if code is None:
        raise ValueError(f"no kernel {entry!r} in this cubin")
    shared = elf.section(f".nv.shared.{entry}")
    found = {_REGISTERS: code.info >> 24, _FRAME_SIZE: 0}
    if info := elf.section(".nv.info"):
        at, end = info.offset, info.offset + info.size
        while at + 4 <= end:
            form, attribute, size = struct.unpack_from("<BBH", cubin, at)
            at += 4
            if form != _SIZED:
                continue  # the value is in the head
            if attribute in found and size == 8:
                symbol, value = struct.unpack_from("<II", cubin, at)
                if elf.symbols[symbol].name == entry:
                    found[attribute] = value
            at += size
    reserved = _RESERVED_SHARED if elf.section(".nv.shared.reserved.0") else 0
    static = max(0, shared.size - reserved) if shared else 0
    return Resources(found[_REGISTERS], static, found[_FRAME_SIZE], code.size)
