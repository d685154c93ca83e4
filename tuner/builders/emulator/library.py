"""The library a `.cu` file becomes for the emulator: its flags, its assembly made ready, what it contains.

The compiler's assembly is edited before it is assembled. Dynamic shared memory (`extern __shared__`) has to
be defined, under every name the kernel gives it; and in a sanitized build each shared variable gets a red
zone behind it, so that running over its end meets memory that belongs to nothing.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tuner.core.cache import cache_folder, entry
from tuner.core.digest import digest, digest_files
from tuner.core.elf import THREAD_LOCAL, Elf
from tuner.core.errors import BuildError
from tuner.core.host_cxx import Command, compiler_identity, first_error, run_compiler
from tuner.core.places import CUDA_SRC

EMULATOR = CUDA_SRC / "emulator"

# Kernels read what they wrote through a pointer of another type, and nvcc lets them: no strict aliasing.
# Tail calls would hide the place a runtime function was called from. Shared memory is thread-local storage
# without constructors, hence -fno-extern-tls-init; unique symbols would keep a library from being unloaded.
COMMON_FLAGS = (
    "-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-fwrapv",
    "-fno-optimize-sibling-calls", "-fno-extern-tls-init", "-fno-gnu-unique", "-ffp-contract=off",
    "-frandom-seed=tuner", "-w", "-fmax-errors=1", "-gdwarf-4",
)  # fmt: skip
PLAIN_FLAGS = ("-O2", "-g1")
# -O1: lines stay where they were written, and no access is moved above another.
SANITIZED_FLAGS = (
    "-O1", "-g", "-fsanitize=thread,alignment,bounds", "--param", "tsan-distinguish-volatile=1",
    "--param", "tsan-instrument-func-entry-exit=0",
)  # fmt: skip
_RUNTIME_FLAGS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-fno-optimize-sibling-calls", "-c")
LINK_FLAGS = ("-shared", "-Wl,--build-id=none", "-Wl,-Bsymbolic", "-Wl,-z,noexecstack")

# At least 256 floats, and as much as the variable has itself, up to 32 KiB: an index may run on for rows.
RED_ZONE, LARGEST_RED_ZONE = 1024, 32 * 1024
DYNAMIC = "cuda_emu_dynamic"
GUARD = "_ZGV"
"""What the names of the compiler's own variables beside static ones begin with (Itanium C++ ABI, 5.1.5.3)."""
_CALLS = re.compile(r"^(\tcall\t)(memcpy|memmove|memset)(@PLT)?$", re.MULTILINE)
_TLS_USE = re.compile(r"([A-Za-z_.$][\w.$]*)@(?:tlsgd|tlsld|gottpoff|dtpoff|tpoff)", re.IGNORECASE)
_LABEL = re.compile(r"^([A-Za-z_.$][\w.$]*):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SharedVariable:
    """A variable in shared memory: its place and size in the library's thread-local block, in bytes."""

    name: str
    offset: int
    size: int


@cache
def emulator_digest() -> str:
    """Of all files of the emulator: a change in any makes other libraries."""
    found = (p for p in EMULATOR.rglob("[!.]*") if p.is_file())  # hidden ones are an editor's
    files = sorted(p for p in found if p.suffix != ".md")
    return digest_files(files)


def runtime_object(compiler: Command) -> Path:
    """The compiled runtime; compiles it where the cache has not got it (about 2 s, once).

    Raises:
        BuildError: it does not compile.
    """
    source = str(EMULATOR / "runtime" / "runtime.cpp")
    return _cached(compiler, [*_RUNTIME_FLAGS, source], "runtime.o")


def precompiled_headers(compiler: Command, sanitize: bool) -> Path:
    """A folder with the headers precompiled for one set of flags; compiles them where the cache has them not.

    They are all that most kernels' compile time is made of (0.20 s of 0.25 s here).

    Raises:
        BuildError: they do not compile.
    """
    flags = [*COMMON_FLAGS, *(SANITIZED_FLAGS if sanitize else PLAIN_FLAGS)]
    header = str(EMULATOR / "include" / "cuda_emulator.h")
    return _cached(compiler, [*flags, "-x", "c++-header", header], "cuda_emulator.h.gch").parent


def _cached(compiler: Command, command: list[str], name: str) -> Path:
    """What the compiler makes of a part of the emulator, from the cache; BuildError as it says."""
    version = digest([emulator_digest(), compiler_identity(compiler), command])

    def fill(folder: Path) -> None:
        code, output = run_compiler([*compiler, *command, "-o", name], folder)
        if code != 0:
            raise BuildError(f"{first_error(output)}\n{output[:20_000]}")

    return entry(cache_folder() / "emulator" / version, fill) / name


def finish_assembly(text: str, dynamic_bytes: int, sanitize: bool) -> str:
    """The compiler's assembly with dynamic shared memory defined, and red zones where asked for.

    Args:
        text: what `g++ -S` wrote.
        dynamic_bytes: of dynamic shared memory.
        sanitize: adds a red zone behind each shared variable and reroutes memcpy and its like.
    """
    defined = set(_LABEL.findall(text))
    text = _with_red_zones(text, sanitize)
    names = {DYNAMIC, *(name for name in _TLS_USE.findall(text) if name not in defined)}
    lead = ""
    if sanitize:
        text = _CALLS.sub(r"\1cuda_emu_\2", text)
        lead = f'\t.section\t.tbss,"awT",@nobits\n\t.zero\t{4 * RED_ZONE}\n\t.text\n'
    tail = ['\t.section\t.tbss,"awT",@nobits', "\t.align 1024"]
    for name in sorted(names):
        tail += [f"\t.globl\t{name}", f"\t.hidden\t{name}", f"\t.type\t{name}, @object",
                 f"\t.size\t{name}, {dynamic_bytes}", f"{name}:"]  # fmt: skip
    tail.append(f"\t.zero\t{dynamic_bytes + _red_zone(dynamic_bytes)}")
    return f"{lead}{text}\n" + "\n".join(tail) + '\n\t.section\t.note.GNU-stack,"",@progbits\n'


def _red_zone(size: int) -> int:
    return min(max(size, RED_ZONE), LARGEST_RED_ZONE)


def _with_red_zones(text: str, red_zones: bool) -> str:
    """Shared variables at multiples of 16 bytes, as ptxas lays arrays out; with red zones if asked for.

    Kernels read arrays of 2- and 4-byte types by vectors of 16 bytes; CUDA promises no such place, and on
    a GPU they have it, unless sizes that are no multiple of 16 come before.
    """
    lines: list[str] = []
    inside, labelled = False, False
    for line in text.split("\n"):
        if line.startswith("\t.section\t"):
            inside = line.startswith("\t.section\t.tbss")
        elif line in ("\t.text", "\t.data", "\t.bss"):
            inside = False
        if inside and line.endswith(":"):
            lines.append("\t.align 16")
        lines.append(line)
        if red_zones and inside and labelled and line.startswith("\t.zero\t"):
            lines.append(f"\t.zero\t{_red_zone(int(line.split()[1]))}")
        labelled = line.endswith(":")
    return "\n".join(lines)


def shared_variables(library: Path) -> tuple[list[SharedVariable], int]:
    """The thread-local symbols of a library, which are its shared variables, and the block's size in bytes.

    Raises:
        ValueError: it is no ELF file of 64 bits, little endian.
    """
    elf = Elf(library.read_bytes())
    found = {
        s.name: SharedVariable(s.name, s.value, s.size)
        for s in elf.symbols
        if s.kind == THREAD_LOCAL and s.section
    }
    return sorted(found.values(), key=lambda v: (v.offset, v.name)), elf.thread_local_bytes


def source_name(symbol: str) -> str:
    """The name a shared variable has in the source: `_ZZ4gemmE2As` -> `As`.

    A local variable's mangled name ends in E, its length and its name, and a number where another function
    scope has one of that name too (Itanium C++ ABI, 5.1.6).
    """
    if symbol.startswith(GUARD):
        return symbol
    for match in re.finditer(r"E(\d+)", symbol):
        rest = symbol[match.end() :]
        # `E13As` may stand for a name of 13 or, after a digit of something else, of 3 characters.
        for start in range(len(match[1])):
            length = int(match[1][start:])
            if length and re.fullmatch(r"(?:_\d+|__\d+_)?", rest[length:]) and len(rest) >= length:
                return rest[:length]
    return symbol
