"""Code of an object file that would run as soon as its library is loaded, before any kernel is launched.

Constructors of global objects, `__attribute__((constructor))`, destructors, `.init` sections, resolvers of
indirect functions. A GPU would run none of it, and the emulator's host must not.
"""

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Of the ELF specification (gABI, "Sections"): SHT_RELA, SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY.
_RELA, _SYMTAB, _ARRAYS = 4, 2, (14, 15, 16)
_BY_NAME = re.compile(r"\.(?:ctors|dtors|init|fini|init_array|fini_array|preinit_array)(?:\.\d+)?")
_FUNCTION, _IFUNC = 2, 10  # STT_FUNC, STT_GNU_IFUNC
_LOOKED_AT_BYTES = 256
# What -fsanitize=thread itself adds to every file; its one call is to the emulator's empty `__tsan_init`. A
# second symbol of this name would not assemble.
_SANITIZER = ("_sub_I_00099_0", ".init_array.00099")


@dataclass(frozen=True, slots=True)
class HostCode:
    """A function that loading runs.

    Attributes:
        symbol: its name in the object file.
        file, line: where it is; the line is 0 where that is not known.
    """

    symbol: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    offset: int
    size: int
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    kind: int
    section: int
    value: int
    size: int


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode(errors="replace")


def _sections(data: bytes) -> list[_Section]:
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    rows = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    return [_Section(_text(data, rows[names][4] + r[0]), r[1], r[4], r[5], r[6], r[7]) for r in rows]


def _symbols(data: bytes, sections: list[_Section]) -> list[_Symbol]:
    found = []
    for table in sections:
        if table.kind == _SYMTAB:
            names = sections[table.link].offset
            for at in range(table.offset, table.offset + table.size, 24):
                name, info, _, section, value, size = struct.unpack_from("<IBBHQQ", data, at)
                found.append(_Symbol(_text(data, names + name), info & 15, section, value, size))
    return found


def host_code(library: Path, sanitized: bool) -> list[HostCode]:
    """What loading would run of an object file (ELF, 64 bits, little endian), in the order of its sections.

    Args:
        library: before it is linked: afterwards the emulator's own and the C library's would be among it.
        sanitized: compiled with `-fsanitize=thread`, which adds one that does nothing.
    """
    data = library.read_bytes()
    sections = _sections(data)
    symbols = _symbols(data, sections)
    found = [s for s in symbols if s.kind == _IFUNC]
    for index, section in enumerate(sections):
        if not section.size or not (section.kind in _ARRAYS or _BY_NAME.fullmatch(section.name)):
            continue
        code = section.name in (".init", ".fini")  # it is the code itself, the others point to it
        entries = [] if code else list(_entries(data, sections, index, symbols))
        if sanitized and section.name == _SANITIZER[1]:
            # Among others of the user's own with that priority; the name can be there once.
            entries = [entry for entry in entries if entry.name != _SANITIZER[0]]
            if not entries:
                continue
        found += entries or [_Symbol(section.name, _FUNCTION, index, 0, section.size)]
    return [HostCode(s.name, *_place(library, sections, s)) for s in dict.fromkeys(found)]


def _entries(data: bytes, sections: list[_Section], index: int, symbols: list[_Symbol]) -> Iterator[_Symbol]:
    """The functions that an array of pointers leads to."""
    for table in sections:
        if table.kind == _RELA and table.info == index:
            for at in range(table.offset, table.offset + table.size, 24):
                _, info, addend = struct.unpack_from("<QQq", data, at)
                target = symbols[info >> 32]
                # A function that only this file sees is a place in its section, whose symbol has no name.
                place = target.section, target.value + addend
                named = (s for s in symbols if s.kind == _FUNCTION and (s.section, s.value) == place)
                yield next(named, target)


def _place(library: Path, sections: list[_Section], symbol: _Symbol) -> tuple[str, int]:
    tool = shutil.which("addr2line")
    nowhere = library.with_suffix(".cu").name, 0
    if tool is None or symbol.section >= len(sections):
        return nowhere
    # What initializes a file's objects has its own beginning at the file's end; what it calls has a line.
    addresses = [hex(symbol.value + i) for i in range(min(max(symbol.size, 1), _LOOKED_AT_BYTES))]
    command = [tool, "-i", "-e", str(library), "-j", sections[symbol.section].name, *addresses]
    shown = subprocess.run(command, capture_output=True, text=True, errors="replace")
    places = []
    for row in shown.stdout.splitlines():
        file, _, line = row.rpartition(":")
        digits = re.match(r"\d+", line)
        if file not in ("", "??") and digits is not None:
            places.append((file.removeprefix("./"), int(digits[0])))
    own = [place for place in places if place[0] != "declaration"]
    return (own or places or [nowhere])[0]
