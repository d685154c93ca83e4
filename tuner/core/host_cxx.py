"""The host's C++ compiler: where it is, which it is, and the flags that name a target's instruction set.

Used by the builder `cxx` and by the CPU device, which compiles its own calibration code.
"""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from tuner.core.contained import Caps, run_contained
from tuner.core.errors import MachineFault, Unavailable

# Instruction sets in gcc's spelling that a flag `-m<name>` enables, in x86 compilers of the last years.
X86_FEATURES = frozenset(
    (
        "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "lzcnt", "movbe", "bmi", "bmi2", "f16c",
        "fma", "avx", "avx2", "avxvnni", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl",
        "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512vnni", "avx512bitalg", "avx512vpopcntdq",
        "avx512bf16", "avx512fp16", "amx-tile", "amx-int8", "amx-bf16",
    )
)  # fmt: skip


@cache
def find_compiler() -> str | None:
    """The path of `$CXX`, else of the first of g++, clang++ and c++ on PATH; `None` where there is none.

    `$CXX` is one command without arguments.
    """
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and (path := shutil.which(name)):
            return path
    return None


def require_compiler() -> str:
    """Like `find_compiler`.

    Raises:
        Unavailable: there is none.
    """
    compiler = find_compiler()
    if compiler is None:
        raise Unavailable("no C++ compiler found: set $CXX, or put g++, clang++ or c++ on PATH")
    return compiler


@cache
def compiler_version(compiler: str) -> str:
    """The first line of `--version`: `g++ (Debian 12.2.0-14) 12.2.0`."""
    shown = subprocess.run([compiler, "--version"], capture_output=True, text=True, env=c_environment())
    return shown.stdout.partition("\n")[0].strip() or "unknown"


def c_environment() -> dict[str, str]:
    """The environment with messages in English, so that errors read the same everywhere."""
    return {**os.environ, "LC_ALL": "C"}


@cache
def accepts(compiler: str, flags: tuple[str, ...]) -> bool:
    """Whether the compiler knows all these flags (it preprocesses an empty file with them)."""
    command = [compiler, *flags, "-x", "c++", "-E", "-o", os.devnull, os.devnull]
    return subprocess.run(command, capture_output=True).returncode == 0


@cache
def isa_flags(compiler: str, features: tuple[str, ...]) -> tuple[str, ...]:
    """The flags that let a compiler use exactly these features, whatever machine it runs on.

    Features that are not x86 ones, or that this compiler is too old for, give no flag. x86 begins from
    the baseline of 2003, since a distribution's compiler may have been configured for a later one.
    """
    if not X86_FEATURES.intersection(features):
        return ()
    wanted = tuple(f"-m{feature}" for feature in features if feature in X86_FEATURES)
    if not accepts(compiler, wanted):
        wanted = tuple(flag for flag in wanted if accepts(compiler, (flag,)))
    # Without it gcc vectorizes loops 256 bits wide even where 512 are there.
    width = ("-mprefer-vector-width=512",) if "avx512f" in features else ()
    return ("-march=x86-64", "-mtune=generic", *wanted, *width)


def first_error(output: str) -> str:
    """The line of a compiler's, assembler's or linker's output that says what went wrong first."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # "collect2: error: ld returned 1 exit status" repeats what the linker said in better words.
    lines = [line for line in lines if not line.startswith("collect2:")] or lines
    for marks in (("error:", "Error:"), ("undefined reference", "undefined symbol", "error")):
        for line in lines:
            if any(mark in line for mark in marks):
                return line
    return lines[0] if lines else "the compiler failed without a message"


def run_compiler(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Runs a compiler in a folder (relative paths keep its output free of it): exit code, messages.

    Raises:
        MachineFault: it cannot be started: it is gone, or there is no process or memory to be had.
    """
    caps = _caps.get()
    if caps is not None:
        return _run_limited(command, folder, caps)
    try:
        done = subprocess.run(
            command, cwd=folder, env=c_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace",
        )  # fmt: skip
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise  # a candidate's own flags
        why = error.strerror or str(error)
        where = "" if error.filename in (None, command[0]) else f" in {error.filename}"
        raise MachineFault(
            f"the compiler {command[0]} cannot be started{where}: {why}", error.errno == errno.EAGAIN
        ) from error
    return done.returncode, done.stderr + done.stdout


_caps: ContextVar[Caps | None] = ContextVar("caps of compilers", default=None)


@contextmanager
def compilers_limited(caps: Caps) -> Iterator[None]:
    """Compilers run under limits: for builds in this process. A build child has limits of its own."""
    token = _caps.set(caps.on_this_machine())
    try:
        yield
    finally:
        _caps.reset(token)


def _run_limited(command: Sequence[str], folder: Path, caps: Caps) -> tuple[int, str]:
    with tempfile.NamedTemporaryFile(prefix="tuner-compiler-") as output:
        done = run_contained(command, caps, Path(output.name), folder, c_environment())
    if done.passed:
        return 1, f"error: the compiler was ended: {caps.excess(done.passed)}"
    return done.code, done.output
