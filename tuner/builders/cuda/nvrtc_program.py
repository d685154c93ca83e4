"""CUDA C++ to cubin through NVRTC: no driver, no toolkit, no file but its headers (`headers`)."""

import importlib.metadata
import io
import re
from collections.abc import Sequence
from typing import Any

from tuner.builders.cuda import headers
from tuner.core.errors import BuildError, MissingExtra
from tuner.core.places import CUDA_SRC

STANDARD = "c++17"
# Without these distributions nothing compiles, nor without NVRTC and its headers (`headers`).
_NEEDED = ("cuda-core", "cuda-bindings")

_ERROR = re.compile(r"^(?P<file>.*?)\((?P<line>\d+)\): (?:catastrophic )?error(?P<rest>.*)$", re.MULTILINE)
_SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_FUNCTION = re.compile(r"(?:Compiling entry function|Function properties for) '?([\w$]+)'?")

# Flags a source may ask for: how cuda-core spells them, and the type of the value after "=".
_FLAGS: dict[str, tuple[str, type]] = {
    "--maxrregcount": ("max_register_count", int),
    "--use_fast_math": ("use_fast_math", bool),
    "--fmad": ("fma", bool),
    "--ftz": ("ftz", bool),
    "-lineinfo": ("lineinfo", bool),
    "--extra-device-vectorization": ("extra_device_vectorization", bool),
}


def major() -> int:
    """The major release of CUDA whose wheels are used: that of cuda-bindings; 13 where there is none."""
    try:
        found = int(importlib.metadata.version("cuda-bindings").partition(".")[0])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return 13
    return found if found in headers.NVRTC else 13


def missing() -> str | None:
    """The first distribution that is not installed and whose headers no toolkit has; `None` if none."""
    for name in (*_NEEDED, headers.NVRTC[major()]):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return name
    return headers.missing(major())


def version() -> str:
    """The version of NVRTC, from its wheel: nothing is loaded.

    Raises:
        MissingExtra: the wheel is not installed, or headers are neither in wheels nor in a CUDA toolkit.
    """
    if name := missing():
        raise MissingExtra(f"compiling CUDA C++ (there is no {name})", "cuda")
    return importlib.metadata.version(headers.NVRTC[major()])


def include_folders() -> tuple[str, ...]:
    """Where `cuda_fp16.h`, `mma.h` and libcu++ are."""
    return headers.include_folders(major())


def _flag(text: str) -> tuple[str, Any]:
    if text.startswith("-D"):
        return "define_macro", text[2:]
    name, _, value = text.partition("=")
    if name not in _FLAGS:
        raise BuildError(f"flag {text!r} is not one of -Dname, -Ifolder, {', '.join(sorted(_FLAGS))}")
    field, kind = _FLAGS[name]
    return field, int(value) if kind is int else value not in ("false", "0")


def _first_error(log: str) -> str:
    """The log behind its first error line, spelled `file:line: error ...` as other compilers do."""
    match = _ERROR.search(log)
    if match is None:
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        first = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "no message")
    else:
        first = f"{match['file']}:{match['line']}: error{match['rest']}"
    return f"{first}\n{log.strip()}"


def compile_cubin(
    text: str, arch: str, include: Sequence[str] = (), flags: Sequence[str] = ()
) -> tuple[bytes, dict[str, int]]:
    """A cubin, and of each kernel in it the bytes that registers were spilled to local memory and back.

    As `compile_named` without names.
    """
    cubin, spills, _ = compile_named(text, arch, (), include, flags)
    return cubin, spills


def compile_named(
    text: str, arch: str, names: Sequence[str], include: Sequence[str] = (), flags: Sequence[str] = ()
) -> tuple[bytes, dict[str, int], dict[str, str]]:
    """As `compile_cubin`, and the symbols of kernels given by their names in C++: `lab::scale<float, 4>`.

    Args:
        text: CUDA C++.
        arch: `sm_80`.
        names: of kernels that are not extern "C", or are instances of templates.
        include: folders of the source's own headers; CUDA's and `cuda_src/nvrtc` come after them.
        flags: see `_FLAGS`.

    Raises:
        BuildError: it does not compile; the first line is the compiler's first error, file and line first.
        MissingExtra: cuda-core or a wheel it needs is not installed.
    """
    version()
    from cuda.core import Program, ProgramOptions

    options: dict[str, Any] = {}
    include = [*include, *(flag[2:] for flag in flags if flag.startswith("-I"))]
    for flag in (flag for flag in flags if not flag.startswith("-I")):
        name, value = _flag(flag)
        options[name] = [*options.get(name, []), value] if name == "define_macro" else value
    log = io.StringIO()
    try:
        program = Program(
            text,
            code_type="c++",
            options=ProgramOptions(
                arch=arch,
                std=STANDARD,
                include_path=[*include, *include_folders(), str(CUDA_SRC / "nvrtc")],
                pre_include="prelude.h",
                # What is annotated with nothing would be the host's: an error, used or not.
                device_as_default_execution_space=True,
                ptxas_options=["-v"],
                **options,
            ),
        )
        compiled = program.compile("cubin", name_expressions=tuple(names), logs=log)
        cubin, symbols = bytes(compiled.code), compiled.symbol_mapping if names else {}
    except Exception as error:  # cuda-core raises a class of its own for each stage
        message = f"{log.getvalue()}\n{error}"
        if "gpu-architecture" in message or "arch" in str(error).split("\n")[0].lower():
            raise BuildError(f"NVRTC {version()} does not know the architecture {arch}\n{message}") from None
        raise BuildError(_first_error(message)) from None
    found = {name: s.decode() if isinstance(s, bytes) else str(s) for name, s in symbols.items()}
    return cubin, _spills(log.getvalue()), found


def ptx(text: str, arch: str, include: Sequence[str] = (), flags: Sequence[str] = ()) -> str:
    """The PTX of a source that compiles.

    Through NVRTC itself: cuda-core asks the driver whether it could load the PTX, and here is none.

    Raises:
        BuildError: it does not compile.
        MissingExtra: a wheel is not installed.
    """
    version()
    from cuda.bindings import nvrtc

    folders = [f"-I{folder}" for folder in (*include, *include_folders(), str(CUDA_SRC / "nvrtc"))]
    folders += ["--pre-include=prelude.h", "--device-as-default-execution-space"]
    options = [f"--gpu-architecture={arch.replace('sm_', 'compute_')}", f"--std={STANDARD}", *folders, *flags]
    _, program = nvrtc.nvrtcCreateProgram(text.encode(), b"kernel.cu", 0, [], [])
    try:
        (result,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
        if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            _, size = nvrtc.nvrtcGetProgramLogSize(program)
            log = bytearray(size)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise BuildError(_first_error(log.decode(errors="replace")))
        _, size = nvrtc.nvrtcGetPTXSize(program)
        found = bytearray(size)
        nvrtc.nvrtcGetPTX(program, found)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return found.decode(errors="replace").rstrip("\0")


def _spills(log: str) -> dict[str, int]:
    found: dict[str, int] = {}
    function = ""
    for line in log.splitlines():
        if match := _FUNCTION.search(line):
            function = match[1]
        elif match := _SPILL.search(line):
            found[function] = int(match[1]) + int(match[2])
    return found
