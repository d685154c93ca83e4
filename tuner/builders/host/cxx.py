"""C++ sources to shared libraries, with the host's compiler."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.core.artifact import Artifact, Toolchain
from tuner.core.builder import Builder
from tuner.core.digest import digest_files
from tuner.core.elf import Elf
from tuner.core.errors import BuildError
from tuner.core.host_cxx import (
    KERNEL_FLAGS,
    LINK_FLAGS,
    X86_FEATURES,
    compiler_name,
    compiler_version,
    first_error,
    isa_flags,
    missing_compiler,
    require_compiler,
    run_compiler,
)
from tuner.core.kernel import Argument, Source
from tuner.core.target import Target

CALL, PREPARE, APPEND = "tuner_call", "tuner_prepare", "tuner_append"
"""The one symbol a device calls: `int tuner_call(void** args)`, 0 for success."""

_SCALARS = {"int32": "__INT32_TYPE__", "int64": "__INT64_TYPE__", "float32": "float"}

# Overloads instead of <type_traits>, whose inclusion alone costs 20 ms a build. The parameter types of
# the entry are deduced, so `void*` becomes `const float*` without being told.
_WRAPPER = """
#line 1 "tuner_call.cpp"
namespace tuner_wrapper {{
template <class... P, class... A>
inline int call(void (*entry)(P...), A... args) {{ entry(static_cast<P>(args)...); return 0; }}
template <class... P, class... A>
inline int call(int (*entry)(P...), A... args) {{ return entry(static_cast<P>(args)...); }}
}}
"""
_SYMBOL = """
extern "C" __attribute__((visibility("default"))) int {symbol}(void** args) {{
    (void)args;
    return tuner_wrapper::call({entry}{arguments});
}}
"""


def wrapper(entry: str, arguments: tuple[Argument, ...]) -> str:
    """The C++ text of `tuner_call`: tensors are passed as pointers, scalars by the address of a value."""
    return _WRAPPER.format() + _symbol(CALL, entry, arguments)


def _symbol(symbol: str, entry: str, arguments: tuple[Argument, ...]) -> str:
    """One function that takes an array of pointers, behind the text of `_WRAPPER`."""
    texts = []
    for i, argument in enumerate(arguments):
        kind = _SCALARS.get(argument.kind)
        texts.append(f", *static_cast<const {kind}*>(args[{i}])" if kind else f", args[{i}]")
    return _SYMBOL.format(symbol=symbol, entry=entry, arguments="".join(texts))


def elf_section_bytes(path: Path, section: str) -> int | None:
    """The size of a section of an ELF file; `None` where the file has none or is no ELF."""
    try:
        found = Elf(path.read_bytes()).section(section)
    except ValueError:
        return None
    return None if found is None else found.size


_VECTOR_STORE = re.compile(r"^\s+v?mov[a-z0-9]+\s+%[xyz]mm\d+, -?\d*\(%[re][sb]p\)", re.MULTILINE)
_VECTOR_LOAD = re.compile(r"^\s+v?mov[a-z0-9]+\s+-?\d*\(%[re][sb]p\), %[xyz]mm\d+", re.MULTILINE)
_FMA = re.compile(r"^\s+vfn?m(?:add|sub)\w*\s", re.MULTILINE)
_MULTIPLIES = re.compile(r"^\s+v(?:fn?m(?:add|sub)|mulp|pmul|pdp)\w*\s|^\s+(?:mulp|pmul)\w*\s", re.MULTILINE)
_FUNCTION = re.compile(r"^(?=[A-Za-z_][\w.$]*:\s*$)", re.MULTILINE)


def assembly_metrics(text: str) -> dict[str, float]:
    """Counts over x86 assembly: instructions, not executions.

    `vector_spills` are moves of a vector register to or from the stack frame in functions that multiply
    vectors: a register tile that does not fit shows here. Buffers a kernel keeps on the stack count too.
    """
    spills = sum(
        len(_VECTOR_STORE.findall(function)) + len(_VECTOR_LOAD.findall(function))
        for function in _FUNCTION.split(text)
        if _MULTIPLIES.search(function)
    )
    return {"fma_instructions": float(len(_FMA.findall(text))), "vector_spills": float(spills)}


class CxxBuilder(Builder):
    """Compiles C++ for a target's features, never for those of the building machine.

    `Source.options` may hold `include` (a folder, or a list of them) and `flags` (a list).
    """

    name = "cxx"
    target_kinds = ("cpu",)

    def unavailable(self) -> str | None:
        """There is no C++ compiler, or `$CXX` is none."""
        return missing_compiler()

    def toolchain(self, target: Target) -> Toolchain:
        """The compiler with the arguments `$CXX` gives it, its version, and the flags every source gets.

        Raises:
            Unavailable: there is no C++ compiler.
        """
        compiler = require_compiler()
        flags = (*KERNEL_FLAGS, *isa_flags(compiler, target.features))
        return Toolchain(compiler_name(compiler), compiler_version(compiler), flags)

    def build(self, source: Source, target: Target, folder: Path) -> Artifact:
        """Compiles to `folder`: kernel.cpp (what is compiled), kernel.s, kernel.so.

        Raises:
            BuildError: the compiler refuses it; the message begins with its first error line.
            Unavailable: there is no C++ compiler.
        """
        compiler, toolchain = require_compiler(), self.toolchain(target)
        # Who wrote the kernel and chose its configuration reckoned with the target's instructions.
        for name in X86_FEATURES.intersection(target.features, source.options.get("requires", ())):
            if f"-m{name}" not in toolchain.flags:
                raise BuildError(
                    f"{compiler_version(compiler)} is too old for -m{name}, which this kernel needs"
                )
        text = f"{source.text}\n{wrapper(source.entry, source.arguments)}"
        if source.prepare is not None:
            text += _symbol(PREPARE, source.prepare.entry, source.prepare.arguments)
        if source.growth is not None:
            text += _symbol(APPEND, source.growth.entry, source.growth.arguments)
        prepare = replace(source.prepare, entry=PREPARE) if source.prepare is not None else None
        growth = replace(source.growth, entry=APPEND) if source.growth is not None else None
        (folder / "kernel.cpp").write_text(text)
        flags = [*toolchain.flags, *_include_flags(source.options), *source.options.get("flags", ())]
        # Two steps take as long as one, and leave the assembly to be counted and read.
        for step in (["-S", "kernel.cpp", "-o", "kernel.s"], [*LINK_FLAGS, "kernel.s", "-o", "kernel.so"]):
            code, output = run_compiler([*compiler, *flags, *step], folder)
            if code != 0:
                raise BuildError(f"{first_error(output)}\n{output[:20_000]}")
        library = folder / "kernel.so"
        code_bytes = elf_section_bytes(library, ".text")
        metrics = assembly_metrics((folder / "kernel.s").read_text(errors="replace"))
        if code_bytes is not None:
            metrics["code_bytes"] = float(code_bytes)
        return Artifact(
            path=library, format="shared_library", entry=CALL, arguments=source.arguments,
            digest=digest_files([library]), toolchain=toolchain, threads=source.threads, metrics=metrics,
            prepare=prepare, growth=growth,
        )  # fmt: skip


def _include_flags(options: Any) -> list[str]:
    declared = options.get("include", ())
    folders = [declared] if isinstance(declared, str | Path) else list(declared)
    flags = []
    for place in folders:
        # The map keeps the checkout's place out of __FILE__, and so out of the digest.
        flags += [f"-I{place}", f"-ffile-prefix-map={place}=."]
    return flags
