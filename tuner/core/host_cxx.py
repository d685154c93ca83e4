"""The host's C++ compiler: where it is, which it is, and the flags that name a target's instruction set.

Used by the builder `cxx` and by the CPU device, which compiles its own calibration code.
"""

import errno
import os
import shlex
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
from tuner.core.scratch import Scratch

# Instruction sets in gcc's spelling that a flag `-m<name>` enables, in x86 compilers of the last years.
X86_FEATURES = frozenset(
    (
        "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "lzcnt", "movbe", "bmi", "bmi2", "f16c",
        "fma", "avx", "avx2", "avxvnni", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl",
        "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512vnni", "avx512bitalg", "avx512vpopcntdq",
        "avx512bf16", "avx512fp16", "amx-tile", "amx-int8", "amx-bf16",
    )
)  # fmt: skip

KERNEL_FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-fno-math-errno",
    "-fno-trapping-math", "-ffp-contract=fast", "-frandom-seed=tuner",
)  # fmt: skip
"""Of C++ that computes. No -ffast-math: it lets the compiler assume that there is no NaN, and a check for one
would vanish. Contraction to FMA is what every BLAS does; errno and floating-point traps nobody reads."""
LINK_FLAGS = ("-shared", "-Wl,--build-id=none", "-Wl,--as-needed")
"""A build id would differ with the linker's mood; --as-needed spares the load of an unused libstdc++."""

Command = tuple[str, ...]
"""A compiler as it is run: its program's path, and the arguments that `$CXX` gives it."""

_ON_PATH = ("g++", "clang++", "c++")
_NONE = "no C++ compiler found: set $CXX, or put g++, clang++ or c++ on PATH"
# Long enough for the first run from a cold disk.
_ANSWER_S = 60.0


@cache
def _found() -> Command | str:
    """The compiler, or why there is none."""
    chosen = os.environ.get("CXX", "")
    if not chosen.strip():
        path = next(filter(None, map(shutil.which, _ON_PATH)), None)
        return (path,) if path else _NONE
    try:
        name, *arguments = shlex.split(chosen)
    except ValueError as error:
        return f"CXX={chosen!r} is no command: {error}"
    path = shutil.which(name)
    if path is None:
        return f"CXX={chosen!r} is no C++ compiler: there is no program {name}"
    command = (path, *arguments)
    reason = _why_no_compiler(command)
    return f"CXX={chosen!r} is no C++ compiler: {reason}" if reason else command


def _why_no_compiler(command: Command) -> str | None:
    """Why a program is no compiler: it has to say its version, and to compile an empty file."""
    try:
        with Scratch("cxx-") as folder:
            (folder / "empty.cpp").touch()
            told = _ask([*command, "--version"], folder)
            if told.returncode != 0 or not told.stdout.strip():
                return f"it does not say its version (exit code {told.returncode})"
            done = _ask([*command, "-c", "empty.cpp", "-o", "empty.o"], folder)
            made = folder / "empty.o"
            if done.returncode != 0 or not made.exists() or not made.stat().st_size:
                told_why = first_error(done.stderr)[:200] if done.stderr.strip() else "no object file"
                return f"it does not compile an empty file: {told_why}"
    except subprocess.TimeoutExpired:
        return f"it does not answer within {_ANSWER_S:.0f} s"
    except OSError as error:
        return f"it cannot be run: {error.strerror or error}"
    return None


def _ask(command: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=folder, env=c_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", timeout=_ANSWER_S,
    )  # fmt: skip


def find_compiler() -> Command | None:
    """The command of `$CXX`, else the first of g++, clang++ and c++ on PATH; `None` where there is none.

    `$CXX` may have arguments, quoted as in a shell: `ccache g++`, `clang++ --gcc-toolchain=/opt/gcc`. They
    come first on every command line, so what the lab asks for itself (its optimization level) comes after
    them. A `$CXX` that cannot be run or is no compiler is refused, not passed over: `missing_compiler` says
    why.
    """
    found = _found()
    return None if isinstance(found, str) else found


def missing_compiler() -> str | None:
    """Why there is no C++ compiler, one line; `None` where there is one."""
    found = _found()
    return found if isinstance(found, str) else None


def forget_compiler() -> None:
    """Looks for the compiler anew: for tests that change PATH or `$CXX`."""
    _found.cache_clear()


def require_compiler() -> Command:
    """Like `find_compiler`.

    Raises:
        Unavailable: there is none; says why.
    """
    found = _found()
    if isinstance(found, str):
        raise Unavailable(found)
    return found


@cache
def compiler_version(compiler: Command) -> str:
    """The first line of `--version`: `g++ (Debian 12.2.0-14) 12.2.0`."""
    shown = subprocess.run([*compiler, "--version"], capture_output=True, text=True, env=c_environment())
    return shown.stdout.partition("\n")[0].strip() or "unknown"


@cache
def compiler_name(compiler: Command) -> str:
    """What a toolchain's identity says of a compiler besides its version.

    `g++` for what PATH finds by that name; else the whole command, since two programs of one version, one
    perhaps a wrapper, need not compile alike.
    """
    program, *arguments = compiler
    name = Path(program).name
    short = name if shutil.which(name) == program else program
    return shlex.join([short, *arguments])


def compiler_identity(compiler: Command) -> str:
    """Version and, where it is not a plain one from PATH, the command: for digests."""
    name, version = compiler_name(compiler), compiler_version(compiler)
    return version if name == Path(compiler[0]).name else f"{name}: {version}"


def c_environment() -> dict[str, str]:
    """The environment with messages in English, so that errors read the same everywhere."""
    return {**os.environ, "LC_ALL": "C"}


@cache
def accepts(compiler: Command, flags: tuple[str, ...]) -> bool:
    """Whether the compiler knows all these flags (it preprocesses an empty file with them)."""
    command = [*compiler, *flags, "-x", "c++", "-E", "-o", os.devnull, os.devnull]
    return subprocess.run(command, capture_output=True).returncode == 0


@cache
def isa_flags(compiler: Command, features: tuple[str, ...]) -> tuple[str, ...]:
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
