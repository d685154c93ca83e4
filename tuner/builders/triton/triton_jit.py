"""Triton kernels to cubins with Triton's own compiler: for an explicit target, on any machine.

A source's text is `module:function`; its options hold `signature` (argument -> Triton type, or `constexpr`),
`constants`, `divisible` (arguments known to be multiples of 16), `num_warps` and `num_stages`.
"""

import importlib
import os
import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuner.builders.cuda import gpu_metrics
from tuner.builders.triton.interpreter import TritonInterpreter
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.builder import Builder
from tuner.core.compute_capability import compute_capability
from tuner.core.errors import BuildError, Unavailable
from tuner.core.kernel import Argument, Source
from tuner.core.target import Target

# Every kernel takes more pointers at its end, to scratch memory of the whole grid: null where the kernel asks
# for none. Triton 3.4 has the first alone, later ones have both.
_SCRATCH = ("global_scratch", "profile_scratch")
_THREADS = re.compile(r"^\.reqntid (\d+)", re.MULTILINE)
_ASSEMBLER = re.compile(r"ptxas\b.*\b(?:fatal|error)\b")
_STAGES = ("ttir", "ttgir", "llir", "ptx")


class TritonBuilder(Builder):
    """Compiles `@triton.jit` functions (language `triton`)."""

    name = "triton"
    target_kinds = ("cuda",)
    interprets = True
    preload = ("triton", "triton.language", "triton.compiler", "triton.backends.nvidia.compiler")

    def unavailable(self) -> str | None:
        """Triton has wheels for Linux only."""
        return None if find_spec("triton") else "Triton is not installed: it has wheels for Linux only"

    def warm_up(self) -> None:
        """Makes the choices that the environment would make, and loads LLVM."""
        _settle()
        from triton.backends.nvidia.compiler import get_ptxas_version

        get_ptxas_version(80)

    def interpreter(self) -> TritonInterpreter:
        """Triton's own, in a process of its own; needs torch."""
        return TritonInterpreter()

    def toolchain(self, target: Target) -> Toolchain:
        """Triton's version, and whether it may fuse multiply and add.

        Raises:
            Unavailable: it is not installed.
        """
        try:
            return Toolchain("triton", version("triton"), ("fp_fusion",))
        except PackageNotFoundError:
            raise Unavailable(str(self.unavailable())) from None

    def build(self, source: Source, target: Target, folder: Path) -> Artifact:
        """Writes `kernel.cubin` and every stage before it: `kernel.ttir`, `.ttgir`, `.llir`, `.ptx`.

        Raises:
            BuildError: Triton or ptxas refuses it.
            Unavailable: the target is no CUDA target, or Triton is not installed.
        """
        if target.kind not in self.target_kinds:
            raise Unavailable(f"this builder compiles Triton for CUDA targets, not for {target.name}")
        toolchain = self.toolchain(target)
        compiled = _compile(source, target, folder)
        for stage in _STAGES:
            if stage in compiled.asm:
                (folder / f"kernel.{stage}").write_text(compiled.asm[stage])
        cubin = compiled.asm["cubin"]
        path = folder / "kernel.cubin"
        path.write_bytes(cubin)
        metadata = compiled.metadata
        scratch = {
            name: size for name in _SCRATCH if (size := getattr(metadata, f"{name}_size", None)) is not None
        }
        if any(scratch.values()):
            raise BuildError("the kernel asks for Triton's scratch memory, which nothing here allocates")
        threads = _THREADS.search(compiled.asm["ptx"])
        block = int(threads[1]) if threads else 32 * metadata.num_warps
        launch = source.launch
        if launch is not None:
            launch = replace(launch, block=(block, 1, 1), shared_bytes=metadata.shared)
        arguments = (*source.arguments, *(Argument(name) for name in scratch))
        built = replace(source, entry=metadata.name, arguments=arguments, launch=launch)
        (step,) = gpu_metrics.measured(cubin, path, built, {})
        digest = gpu_metrics.identity(cubin, built)
        return Artifact(path, "cubin", built.entry, arguments, digest, toolchain, 1, launch, step.metrics)


def _settle() -> None:
    """Settles what Triton would take from the environment; 3.9 warns where fusion is left open."""
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")


def _function(text: str) -> Any:
    module, _, name = text.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BuildError(f"no Triton function {text!r}: {error}") from None


def _compile(source: Source, target: Target, folder: Path) -> Any:
    _settle()
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = _function(source.text)
    if not isinstance(function, triton.JITFunction):
        raise BuildError(f"{source.text} was imported for Triton's interpreter: TRITON_INTERPRET is set")
    signature = dict(source.options["signature"])
    # Constants are arguments too, of type constexpr, and in the order of the function's parameters.
    signature.update(dict.fromkeys(source.options["constants"], "constexpr"))
    order = [parameter.name for parameter in function.params]
    signature = {name: signature[name] for name in order}
    divisible = {(order.index(name),): [["tt.divisibility", 16]] for name in source.options["divisible"]
                 if signature[name] != "constexpr"}  # fmt: skip
    options = {
        "num_warps": source.options["num_warps"],
        "num_stages": source.options["num_stages"],
        "enable_fp_fusion": True,
    }
    knobs = triton.knobs
    with knobs.cache.scope(), knobs.compilation.scope():
        # Triton's own cache would answer for a build that is being timed, and grow in the home folder.
        knobs.cache.dir = str(folder / "triton")
        knobs.compilation.always_compile = True
        try:
            program = ASTSource(function, signature, dict(source.options["constants"]), divisible)
            gpu = GPUTarget("cuda", compute_capability(target.arch).number, 32)
            return triton.compile(program, target=gpu, options=options)
        except Exception as error:  # a class for every stage, RuntimeError from LLVM's passes
            raise BuildError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """The line that says why, then all of it: Triton's errors begin with where.

    An error within a function that a kernel calls is the cause of one that only points at the call.
    """
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = f"{type(cause).__name__}: {cause}"
    around = "" if cause is error else f"\n{type(error).__name__}: {error}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # The assembler's own words stand between Triton's and the command that repeats them.
    assembler = next((line for line in lines if _ASSEMBLER.match(line)), None)
    if assembler:
        return f"{assembler}\n{text}{around}"[:20_000]
    marked = [line for line in lines if "error" in line.lower()] or lines
    # What points at a place, `^`, ends an error that has no words of its own.
    words = [line for line in lines[1:] if line.strip("^ ")]
    last = words[-1] if marked[0] is lines[0] and words else ""
    return f"{marked[0]} {last}".strip() + f"\n{text}{around}"[:20_000]
