"""Linking a compiled function with our runtime: by the linker itself, the compiler's driver only once.

The driver with its plug-in, start-up files and static libraries takes longer than the link: 21 ms of CPU,
where the linker alone takes 12, and gold, where it is installed, 8 (512^3 GEMM). The driver is asked once
which shared libraries it links with.
"""

import re
import shutil
from functools import cache
from pathlib import Path

from tuner.core.errors import BuildError
from tuner.core.host_cxx import compiler_version, first_error, require_compiler, run_compiler

# Of the default libraries only those of C: linking libstdc++, which nothing uses, takes 60 ms more. Without
# symbols and debug sections, which hold names of loops, equal code makes equal files.
_DRIVER = ("-shared", "-fopenmp", "-nodefaultlibs", "-Wl,--build-id=none", "-Wl,--strip-all", "-Wl,-z,defs")
_LIBRARIES = ("-lm", "-lc", "-lgcc")
_LINKER = ("-shared", "--build-id=none", "--strip-all", "-z", "defs", "--hash-style=gnu", "--as-needed")
_FILES = ("kernel.o", "runtime.o")
_SHARED = re.compile(r"(/\S+\.so(?:\.\d+)*)\)?$", re.MULTILINE)

# What the driver links with, once it has been seen; inherited by forks of a warm process.
_seen: list[str] = []


@cache
def _linker() -> str | None:
    """The fastest of the linkers that take GNU ld's options."""
    return shutil.which("ld.gold") or shutil.which("ld")


def linker_version() -> str:
    """The linker's name and version: a part of the toolchain's identity."""
    linker = _linker()
    return compiler_version((linker,)) if linker else "linked by the compiler"


def link(folder: Path, runtime: bytes) -> None:
    """Makes `kernel.so` of `kernel.o` and our runtime, in `folder`.

    Raises:
        BuildError: it does not link; with the driver's message.
        Unavailable: there is no C++ compiler.
    """
    (folder / "runtime.o").write_bytes(runtime)
    try:
        if not _seen:
            _by_driver(folder)
        # Also after the driver has done it: equal code makes equal files, the first one included.
        if not _quickly(folder):
            _by_driver(folder)
    finally:
        (folder / "runtime.o").unlink()


def _quickly(folder: Path) -> bool:
    linker = _linker()
    if not _seen or linker is None:
        return False
    code, _ = run_compiler([linker, *_LINKER, *_FILES, *_seen, "-o", "kernel.so"], folder)
    return code == 0


def _by_driver(folder: Path) -> None:
    command = [*require_compiler(), *_DRIVER, "-Wl,--trace", *_FILES, *_LIBRARIES, "-o", "kernel.so"]
    code, output = run_compiler(command, folder)
    if code != 0:
        raise BuildError(f"{first_error(output)}\n{output[:20_000]}")
    if not _seen:
        _seen.extend(dict.fromkeys(path for path in _SHARED.findall(output) if _is_elf(path)))


def _is_elf(path: str) -> bool:
    """Whether it is a library, not a linker's script that names some."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False
