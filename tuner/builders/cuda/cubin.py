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


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    offset: int
    size: int
    link: int
    info: int


def _sections(cubin: bytes) -> list[_Section]:
    if cubin[:5] != b"\x7fELF\x02":
        raise ValueError("not a 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", cubin, 0x3A)
    heads = [struct.unpack_from("<IIQQQQIIQQ", cubin, table + i * entry_size) for i in range(count)]
    names = heads[names_index][4]

    def text(offset: int) -> str:
        start = names + offset
        return cubin[start : cubin.index(b"\0", start)].decode()

    return [_Section(text(h[0]), h[1], h[4], h[5], h[6], h[7]) for h in heads]


def _symbol(cubin: bytes, sections: list[_Section], index: int) -> str:
    table = next(s for s in sections if s.kind == 2)  # SHT_SYMTAB: 24 bytes a symbol, the name first
    (name,) = struct.unpack_from("<I", cubin, table.offset + 24 * index)
    start = sections[table.link].offset + name
    return cubin[start : cubin.index(b"\0", start)].decode()


def entries(cubin: bytes) -> list[str]:
    """The names of the kernels in a cubin."""
    return [s.name.removeprefix(".text.") for s in _sections(cubin) if s.name.startswith(".text.")]


def resources(cubin: bytes, entry: str) -> Resources:
    """What the kernel `entry` takes.

    Raises:
        ValueError: this is no cubin, or it has no such kernel.
    """
    sections = _sections(cubin)
    by_name = {s.name: s for s in sections}
    code = by_name.get(f".text.{entry}")
    if code is None:
        raise ValueError(f"no kernel {entry!r} in this cubin")
    shared = by_name.get(f".nv.shared.{entry}")
    found = {_REGISTERS: code.info >> 24, _FRAME_SIZE: 0}
    if info := by_name.get(".nv.info"):
        at, end = info.offset, info.offset + info.size
        while at + 4 <= end:
            form, attribute, size = struct.unpack_from("<BBH", cubin, at)
            at += 4
            if form != _SIZED:
                continue  # the value is in the head
            if attribute in found and size == 8:
                symbol, value = struct.unpack_from("<II", cubin, at)
                if _symbol(cubin, sections, symbol) == entry:
                    found[attribute] = value
            at += size
    reserved = _RESERVED_SHARED if ".nv.shared.reserved.0" in by_name else 0
    static = max(0, shared.size - reserved) if shared else 0
    return Resources(found[_REGISTERS], static, found[_FRAME_SIZE], code.size)
