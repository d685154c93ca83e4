"""CUDA C++ to a library of the host: the emulator's side of a `.cu` file."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from tuner.builders.emulator.library import (
    COMMON_FLAGS,
    DYNAMIC,
    EMULATOR,
    GUARD,
    LINK_FLAGS,
    PLAIN_FLAGS,
    SANITIZED_FLAGS,
    SharedVariable,
    emulator_digest,
    finish_assembly,
    precompiled_headers,
    runtime_object,
    shared_variables,
    source_name,
)
from tuner.builders.emulator.ptx.asm_statements import may_hold_asm
from tuner.builders.emulator.ptx.translate import translate_asm
from tuner.builders.host.host_code import host_code
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.builder import Builder
from tuner.core.compute_capability import arch_for, compute_capability
from tuner.core.declared_arguments import layout
from tuner.core.digest import digest_files
from tuner.core.errors import BuildError, Unavailable
from tuner.core.host_cxx import (
    Command,
    compiler_identity,
    compiler_version,
    find_compiler,
    first_error,
    run_compiler,
)
from tuner.core.kernel import Source
from tuner.core.target import Target

FORMAT = "emulated_cuda"
"""`Artifact.format` of what this builder makes; beside the library lies a `.json` that describes it."""

_KINDS = {
    "struct": "s", "tensor": "t", "workspace": "t", "int32": "i", "int64": "l", "float32": "f", "map": "m",
}  # fmt: skip


@cache
def find_gcc() -> Command | None:
    """A GNU C++ compiler: the sanitizers rest on what it inserts; `None` where there is none."""
    on_path = shutil.which("g++")
    for candidate in (find_compiler(), (on_path,) if on_path else None):
        if candidate and "clang" not in compiler_version(candidate).lower():
            return candidate
    return None


class CudaEmulatedBuilder(Builder):
    """Compiles a source of language `nvrtc`, unchanged, with g++ and the headers in `cuda_src/emulator`.

    `Source.options` may hold `include` (a folder, or a list of them), `flags` (those that define macros or
    name include folders are taken, NVRTC's own are not) and `sanitize` (true: every memory access is
    checked, which the constructor's argument asks for all sources).

    Args:
        sanitize: build for the sanitizers.
    """

    name = "cuda_emulated"

    def __init__(self, sanitize: bool = False) -> None:
        self.sanitize = sanitize

    def unavailable(self) -> str | None:
        """There is no g++."""
        return None if find_gcc() else "the CUDA emulator needs g++ on PATH (or in $CXX)"

    def warm_up(self) -> None:
        """Compiles the runtime and the headers, once for all builds to come."""
        if compiler := find_gcc():
            runtime_object(compiler)
            precompiled_headers(compiler, self.sanitize)

    def toolchain(self, target: Target) -> Toolchain:
        """The compiler, the flags every source gets, and the emulator's own digest.

        Raises:
            Unavailable: there is no g++.
        """
        compiler = self._compiler()
        flags = (*COMMON_FLAGS, *(SANITIZED_FLAGS if self.sanitize else PLAIN_FLAGS))
        return Toolchain("cuda-emulator", f"{emulator_digest()} {compiler_identity(compiler)}", flags)

    def _compiler(self) -> Command:
        compiler = find_gcc()
        if compiler is None:
            raise Unavailable(str(self.unavailable()))
        return compiler

    def build(self, source: Source, target: Target, folder: Path) -> Artifact:
        """Compiles to `folder`: kernel.cu, kernel.ii (preprocessed), kernel.s, kernel.so, kernel.json.

        Raises:
            BuildError: the compiler refuses it, its inline PTX has an instruction that is not emulated, or
                the entry does not take the arguments that are declared; the message begins with the first
                error.
            Unavailable: there is no g++.
        """
        compiler = self._compiler()
        sanitize = self.sanitize or bool(source.options.get("sanitize", False))
        launches = [step.launch for step in source.steps if step.launch is not None]
        if len(launches) < len(source.steps):
            raise BuildError(f"{source.entry}: a CUDA kernel needs a launch: grid, block, shared bytes")
        runtime = runtime_object(compiler)
        (folder / "kernel.cu").write_text(f'{source.text}\n#line 1 "declaration"\n{_declarations(source)}')
        flags = [
            *COMMON_FLAGS, *(SANITIZED_FLAGS if sanitize else PLAIN_FLAGS), *_language_flags(source, target),
            f"-I{precompiled_headers(compiler, sanitize)}", f"-I{EMULATOR / 'include'}",
            "-include", "cuda_emulator.h", *_option_flags(source.options),
            f"-fdebug-prefix-map={folder.resolve()}=.",
        ]  # fmt: skip
        compiled = ["-x", "c++", "kernel.cu"]
        folders = [Path(flag[2:]) for flag in _option_flags(source.options) if flag.startswith("-I")]
        if may_hold_asm(source.text, folders):
            compiled = self._preprocess([*compiler, *flags], folder)
        self._run([*compiler, *flags, "-S", *compiled, "-o", "kernel.s"], folder)
        assembly = folder / "kernel.s"
        dynamic = max(launch.shared_bytes for launch in launches)
        assembly.write_text(finish_assembly(assembly.read_text(), dynamic, sanitize))
        self._run([*compiler, "-c", "kernel.s", "-o", "kernel.o"], folder)
        self._run([*compiler, *LINK_FLAGS, "kernel.o", str(runtime), "-o", "kernel.so"], folder)
        library = folder / "kernel.so"
        description = _describe(library, source, dynamic, sanitize)
        # Whoever loads the library has to refuse it before: see `launch_findings`.
        description["host_code"] = [asdict(code) for code in host_code(folder / "kernel.o", sanitize)]
        (folder / "kernel.json").write_text(json.dumps(description))
        metrics = {"shared_bytes": float(description["shared_bytes"]), "sanitized": float(sanitize)}
        toolchain = self.toolchain(target)
        return Artifact(
            path=library, format=FORMAT, entry=source.entry, arguments=source.arguments,
            digest=digest_files([library, folder / "kernel.json"]),
            toolchain=replace(toolchain, flags=(*toolchain.flags, *_language_flags(source, target))),
            threads=1, launch=source.launch, metrics=metrics, before=source.before,
        )  # fmt: skip

    def _preprocess(self, command: Sequence[str], folder: Path) -> list[str]:
        """What to compile: the source as it is, or preprocessed and with its inline PTX translated."""
        # -fpch-preprocess leaves a pragma where the precompiled headers are, instead of their text.
        try:
            self._run(
                [*command, "-E", "-fpch-preprocess", "-x", "c++", "kernel.cu", "-o", "kernel.ii"], folder
            )
        except BuildError as error:
            if "File size limit exceeded" not in str(error):
                raise
            return ["-x", "c++", "kernel.cu"]  # macros without end: the compiler's own limits say so best
        written = (folder / "kernel.ii").read_text(errors="surrogateescape")
        translated = translate_asm(written, [str(EMULATOR)])
        if translated == written:
            return ["-x", "c++", "kernel.cu"]
        (folder / "kernel.ii").write_text(translated, errors="surrogateescape")
        return ["-fpreprocessed", "-x", "c++", "kernel.ii"]

    @staticmethod
    def _run(command: Sequence[str], folder: Path) -> None:
        code, output = run_compiler(command, folder)
        if code != 0:
            raise BuildError(f"{first_error(output)}\n{output[:20_000]}")


def _declarations(source: Source) -> str:
    """What lets a host program call the kernels: those before the last by number."""
    kinds = ["".join(_KINDS[a.kind] for a in step.arguments) for step in source.steps]
    structs = [
        f"CUDA_EMULATOR_STRUCT({i}, {layout(a.fields)[0]}, {step.entry})"
        for step in source.steps
        for i, a in enumerate(step.arguments)
        if a.kind == "struct"
    ]
    constants = [
        f"CUDA_EMULATOR_CONSTANT({i}, {name})" for i, name in enumerate(source.options.get("constants", {}))
    ]
    lines = [*structs, *constants, *_clusters(source.text)]
    lines += [f'CUDA_EMULATOR_STEP({i}, "{kinds[i]}", {step.entry})' for i, step in enumerate(source.before)]
    return "\n".join([*lines, f'CUDA_EMULATOR_ENTRY("{kinds[-1]}", {source.entry})\n'])


def _clusters(text: str) -> list[str]:
    """The blocks of a cluster, for the runtime; macros in them are the compiler's to resolve."""
    declared = set(re.findall(r"\b__cluster_dims__\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text))
    if len(declared) > 1:
        raise BuildError("the emulator takes one __cluster_dims__ a file")
    exported = 'extern "C" __attribute__((visibility("default"))) const unsigned'
    return [f"{exported} cuda_emulator_cluster[3] = {{{dims}}};" for dims in declared]


def _language_flags(source: Source, target: Target) -> list[str]:
    arch = arch_for(target.arch, source.options.get("requires", ())) if target.kind == "cuda" else "sm_80"
    return [f"-D{name}={value}" for name, value in compute_capability(arch).macros.items()]


def _option_flags(options: Mapping[str, Any]) -> list[str]:
    declared = options.get("include", ())
    folders = [declared] if isinstance(declared, str | Path) else list(declared)
    flags = [f"-I{Path(place).resolve()}" for place in folders]
    return flags + [str(f) for f in options.get("flags", ()) if str(f)[:2] in ("-D", "-U", "-I")]


def _describe(library: Path, source: Source, dynamic_bytes: int, sanitize: bool) -> dict[str, Any]:
    variables, block = shared_variables(library)
    # Dynamic shared memory may have several names for one place; the kernel's own is the one to show.
    offset = next(v.offset for v in variables if v.name == DYNAMIC)
    names = [v.name for v in variables if v.offset == offset and v.name != DYNAMIC and v.offset]
    own = [v for v in variables if v.offset != offset]
    taken = [_static_bytes(own, step.entry, source) for step in source.steps]
    static = [replace(v, name=source_name(v.name)) for v in own]
    static_bytes = taken[-1]
    shown = [*static, *(replace(v, name=source_name(names[0]) if names else "dynamic", size=dynamic_bytes)
                        for v in variables if v.name == DYNAMIC and dynamic_bytes)]  # fmt: skip
    return {
        "entry": source.entry,
        "sanitize": sanitize,
        "block_bytes": block,
        "dynamic_offset": offset,
        "static_bytes": static_bytes,
        "static_bytes_before": taken[:-1],
        "dynamic_bytes": dynamic_bytes,
        "shared_bytes": static_bytes + dynamic_bytes,
        "variables": [asdict(v) for v in shown],
        "constants": [
            {"name": name, "tensor": value}
            if isinstance(value, str)
            else {
                "name": name,
                "numbers": value,
                "kind": "f" if any(isinstance(v, float) for v in value) else "i",
            }
            for name, value in source.options.get("constants", {}).items()
        ],
        "includes": [flag[2:] for flag in _option_flags(source.options) if flag.startswith("-I")],
        "generated": bool(source.options.get("generated", False)),
    }


def _static_bytes(variables: Sequence[SharedVariable], entry: str, source: Source) -> int:
    """Of the shared variables that a kernel can use: its own, and those of no other step."""
    # A variable of the extern "C" function f is _ZZ1fE...: Itanium C++ ABI, 5.1.6.
    others = tuple(f"_ZZ{len(s.entry)}{s.entry}E" for s in source.steps if s.entry != entry)
    usable = [v for v in variables if not v.name.startswith((GUARD, *others))]
    return sum(v.size for v in usable)


__all__ = ["FORMAT", "CudaEmulatedBuilder", "find_gcc"]
