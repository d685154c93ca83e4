"""Sections and symbols of an ELF file of 64 bits, little endian: objects, shared libraries, cubins.

Source: System V ABI (gABI), chapter 4 (header, section headers, symbol table) and 5 (program headers).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

RELA, SYMTAB = 4, 2  # SHT_RELA, SHT_SYMTAB
FUNCTION, THREAD_LOCAL, INDIRECT_FUNCTION = 2, 6, 10  # STT_FUNC, STT_TLS, STT_GNU_IFUNC
_THREAD_LOCAL_SEGMENT = 7  # PT_TLS
_SYMBOL_BYTES = _RELOCATION_BYTES = 24


@dataclass(frozen=True, slots=True)
class ElfSection:
    """A section header: its name, and its type, offset, size (bytes), link and info as in the file."""

    name: str
    kind: int
    offset: int
    size: int
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol.

    Attributes:
        name: empty for the symbol of a section.
        kind: `FUNCTION`, `THREAD_LOCAL`, ...
        section: index of the section it is defined in; 0 where it is not defined here.
        value: its place in that section; of a thread-local symbol, in the block of a thread.
        size: bytes.
    """

    name: str
    kind: int
    section: int
    value: int
    size: int


@dataclass(frozen=True)
class Elf:
    """A file's bytes, read as ELF.

    Raises:
        ValueError: they are no ELF file of 64 bits, little endian.
    """

    data: bytes

    def __post_init__(self) -> None:
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not a 64-bit ELF file, little endian")

    def _text(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode(errors="replace")

    @cached_property
    def sections(self) -> list[ElfSection]:
        """In the file's order: symbols name them by their index."""
        (start,) = struct.unpack_from("<Q", self.data, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.data, 0x3A)
        rows = [struct.unpack_from("<IIQQQQIIQQ", self.data, start + i * size) for i in range(count)]
        return [ElfSection(self._text(rows[names][4] + r[0]), r[1], r[4], r[5], r[6], r[7]) for r in rows]

    def section(self, name: str) -> ElfSection | None:
        """The last section of a name."""
        return next((s for s in reversed(self.sections) if s.name == name), None)

    @cached_property
    def symbols(self) -> list[Symbol]:
        """Of the symbol tables, in their order: an object file and a cubin have one."""
        found = []
        for table in self.sections:
            if table.kind == SYMTAB:
                names = self.sections[table.link].offset
                for at in range(table.offset, table.offset + table.size, _SYMBOL_BYTES):
                    name, info, _, section, value, size = struct.unpack_from("<IBBHQQ", self.data, at)
                    found.append(Symbol(self._text(names + name), info & 15, section, value, size))
        return found

    def relocations(self, section: int) -> Iterator[tuple[Symbol, int]]:
        """(symbol, addend) of what is written into the section of that index."""
        for table in self.sections:
            if table.kind == RELA and table.info == section:
                for at in range(table.offset, table.offset + table.size, _RELOCATION_BYTES):
                    _, info, addend = struct.unpack_from("<QQq", self.data, at)
                    yield self.symbols[info >> 32], addend

    @property
    def thread_local_bytes(self) -> int:
        """Size of a thread's block of thread-local variables, not rounded up; 0 without one."""
        (start,) = struct.unpack_from("<Q", self.data, 0x20)
        size, count = struct.unpack_from("<HH", self.data, 0x36)
        block = 0
        for i in range(count):
            row = struct.unpack_from("<IIQQQQQQ", self.data, start + i * size)
            if row[0] == _THREAD_LOCAL_SEGMENT:
                block = row[6]
        return block
