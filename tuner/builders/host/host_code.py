"""Code of an object file that would run as soon as its library is loaded, before any kernel is launched.

Constructors of global objects, `__attribute__((constructor))`, destructors, `.init` sections, resolvers of
indirect functions. A GPU would run none of it, and the emulator's host must not.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuner.core.elf import FUNCTION, INDIRECT_FUNCTION, Elf, ElfSection, Symbol

# Of the ELF specification (gABI, "Sections"): SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY.
_ARRAYS = (14, 15, 16)
_BY_NAME = re.compile(r"\.(?:ctors|dtors|init|fini|init_array|fini_array|preinit_array)(?:\.\d+)?")
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


def host_code(library: Path, sanitized: bool) -> list[HostCode]:
    """What loading would run of an object file (ELF, 64 bits, little endian), in the order of its sections.

    Args:
        library: before it is linked: afterwards the emulator's own and the C library's would be among it.
        sanitized: compiled with `-fsanitize=thread`, which adds one that does nothing.
    """
    elf = Elf(library.read_bytes())
    found = [s for s in elf.symbols if s.kind == INDIRECT_FUNCTION]
    for index, section in enumerate(elf.sections):
        if not section.size or not (section.kind in _ARRAYS or _BY_NAME.fullmatch(section.name)):
            continue
        code = section.name in (".init", ".fini")  # it is the code itself, the others point to it
        entries = [] if code else list(_entries(elf, index))
        if sanitized and section.name == _SANITIZER[1]:
            # Among others of the user's own with that priority; the name can be there once.
            entries = [entry for entry in entries if entry.name != _SANITIZER[0]]
            if not entries:
                continue
        found += entries or [Symbol(section.name, FUNCTION, index, 0, section.size)]
    return [HostCode(s.name, *_place(library, elf.sections, s)) for s in dict.fromkeys(found)]


def _entries(elf: Elf, index: int) -> Iterator[Symbol]:
    """The functions that an array of pointers, the section of that index, leads to."""
    for target, addend in elf.relocations(index):
        # A function that only this file sees is a place in its section, whose symbol has no name.
        place = target.section, target.value + addend
        named = (s for s in elf.symbols if s.kind == FUNCTION and (s.section, s.value) == place)
        yield next(named, target)


def _place(library: Path, sections: list[ElfSection], symbol: Symbol) -> tuple[str, int]:
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
