"""Compiled kernels as object files of one symbol each, to be linked into a library.

All symbols of a kernel but one are made local, group sections dissolved first: two configurations of one file
define inline functions of equal names and different bodies, which a linker would otherwise take for one.
What TVM compiles keeps three more: weak pointers to its runtime, for which the linker takes those of ours
(`cuda_src/runtime/tensorir.cpp`), one for all kernels of the library.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner import registry
from tuner.builders.host.cxx import CALL, wrapper
from tuner.builders.tvm.tensorir import RUNTIME
from tuner.core.errors import BuildError
from tuner.core.host_cxx import KERNEL_FLAGS, first_error, isa_flags, require_compiler, run_compiler
from tuner.core.kernel import Argument
from tuner.core.places import CUDA_SRC
from tuner.export.library.plan import Variant

THROUGH = "tuner_tensorir"
"""What calls a function that TVM compiled: `int tuner_tensorir(function, void** args)`."""

_COMPILED_BY_TVM = "__tvm_ffi_main"
_POINTERS = ("__TVMBackendParallelLaunch", "__TVMBackendAllocWorkspace", "__TVMBackendFreeWorkspace")
_RUNTIME_FILES = (RUNTIME, CUDA_SRC / "runtime" / "tensorir_library.cpp")


@dataclass(frozen=True)
class Embedded:
    """A kernel in its object file.

    Attributes:
        file: its name.
        declaration: of its symbol, in C.
        arguments: in call order.
        through: the function that calls it with them; empty where it takes them itself.
    """

    file: str
    declaration: str
    arguments: tuple[Argument, ...]
    through: str = ""


def embed(variant: Variant, folder: Path) -> Embedded:
    """Compiles a kernel into `folder`, to be called by `variant.symbol`.

    Raises:
        BuildError: it does not compile; names the kernel.
        Unavailable: a tool is missing.
    """
    return _of_tvm(variant, folder) if variant.static else _of_cxx(variant, folder)


def _of_cxx(variant: Variant, folder: Path) -> Embedded:
    source = variant.kernel.lower(variant.workload, variant.config, variant.target)
    compiler, name = require_compiler(), variant.symbol
    (folder / f"{name}.cpp").write_text(f"{source.text}\n{wrapper(source.entry, source.arguments)}")
    declared = source.options.get("include", ())
    includes = [declared] if isinstance(declared, str | Path) else list(declared)
    flags = [*KERNEL_FLAGS, *isa_flags(compiler, variant.target.features)]
    flags += [text for place in includes for text in (f"-I{place}", f"-ffile-prefix-map={place}=.")]
    flags += source.options.get("flags", ())
    what = _what(variant)
    run_tool([*compiler, *flags, "-c", f"{name}.cpp", "-o", f"{name}.0.o"], folder, what)
    file = _only(folder, name, [f"{name}.0.o"], [name], what, {CALL: name})
    return Embedded(file, f"int {name}(void**);", source.arguments)


def _of_tvm(variant: Variant, folder: Path) -> Embedded:
    kernel, target, name = variant.kernel, variant.target, variant.symbol
    place = folder / name
    place.mkdir()
    try:
        source = kernel.lower(variant.workload, variant.config, target)
        artifact = registry.builder_of(kernel, target).build(source, target, place)
    except BuildError as error:
        raise BuildError(f"{_what(variant)}: {error}") from None
    kept = [name, *_POINTERS]
    file = _only(folder, name, [f"{name}/kernel.o"], kept, _what(variant), {_COMPILED_BY_TVM: name})
    declaration = f"int {name}(void*, const void*, int32_t, void*);"
    return Embedded(file, declaration, artifact.arguments, THROUGH)


def shared_runtime(folder: Path) -> str:
    """The runtime of all kernels that TVM compiled, as an object file in `folder`; its name.

    Raises:
        BuildError: it does not compile.
        Unavailable: there is no C++ compiler.
    """
    what, files = "the runtime of TensorIR", []
    for source in _RUNTIME_FILES:
        files.append(f"{source.stem}.0.o")
        # Of the base instruction set: every processor may come by.
        command = [*require_compiler(), *KERNEL_FLAGS, "-fno-exceptions", "-c", str(source), "-o", files[-1]]
        run_tool(command, folder, what)
    return _only(folder, "tensorir", files, [THROUGH, *_POINTERS], what)


def _only(
    folder: Path, name: str, files: Sequence[str], kept: Sequence[str], what: str,
    renamed: dict[str, str] | None = None,
) -> str:  # fmt: skip
    """Object files as one in which others see these symbols only; its name."""
    run_tool(["ld", "-r", "--force-group-allocation", *files, "-o", f"{name}.1.o"], folder, what)
    renames = [f"--redefine-sym={old}={new}" for old, new in (renamed or {}).items()]
    keeps = [f"--keep-global-symbol={symbol}" for symbol in kept]
    run_tool(["objcopy", *renames, *keeps, f"{name}.1.o", f"{name}.o"], folder, what)
    return f"{name}.o"


def _what(variant: Variant) -> str:
    return f"kernel {variant.kernel.name} for {variant.target.name}"


def run_tool(command: Sequence[str], folder: Path, what: str) -> None:
    """Runs a compiler or a tool of its.

    Args:
        what: is compiled, for the message.

    Raises:
        BuildError: it fails.
    """
    code, output = run_compiler(command, folder)
    if code != 0:
        raise BuildError(f"{what}: {first_error(output)}\n{output[:20_000]}")
