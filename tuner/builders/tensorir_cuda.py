"""TensorIR for CUDA: TVM's code generator writes CUDA C, NVRTC compiles it; neither needs a GPU or a toolkit.

A source's text is `module:function`: called with the source's options it gives a scheduled `tvm.IRModule` of
one function. With an option `trace` the text is the TVMScript of a program, and the trace schedules it.
"""

import importlib
import re
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tuner.builders import _nvrtc
from tuner.builders._trace import is_trace, launch_of, scheduled
from tuner.builders.nvrtc import pack
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.builder import Builder
from tuner.core.errors import BuildError, Unavailable
from tuner.core.kernel import Source
from tuner.core.target import Target

# Loops that are to be unrolled get a pragma instead of copies of their body: the text stays small.
# Storage rewriting would give sums (f32) the place of tiles (f16), which wmma's pointers do not allow.
_CONFIG = {"tirx.UnrollLoop": {"explicit_unroll": False}, "tirx.disable_storage_rewrite": True}
_DECLARATION = re.compile(r'extern "C" __global__ void __launch_bounds__\((\d+)\) (\w+)\(([^)]*)\)')
_PARAMETER = re.compile(r"(\w+?)(?:_ptr)?$")


class TensorIRCudaBuilder(Builder):
    """Compiles scheduled TensorIR (language `tensorir_cuda`) for any CUDA target."""

    name = "tensorir_cuda"
    preload = ("tvm", "tvm.s_tir", "tvm.script", "tvm.script.parser", "cuda.core")

    def unavailable(self) -> str | None:
        """TVM or a wheel of the `cuda` extra is missing."""
        if find_spec("tvm") is None:
            return "TVM is not installed: pip install apache-tvm"
        name = _nvrtc.missing()
        return f"{name} is not installed: pip install 'kernel-tuner-lab[cuda]'" if name else None

    def warm_up(self) -> None:
        """Loads NVRTC's libraries."""
        _nvrtc.compile_cubin('extern "C" __global__ void empty() {}', "sm_80")

    def toolchain(self, target: Target) -> Toolchain:
        """TVM's version and NVRTC's.

        Raises:
            MissingExtra: NVRTC is not installed.
        """
        flags = (f"nvrtc={_nvrtc.version()}", f"-std={_nvrtc.STANDARD}")
        return Toolchain("tvm-cuda", version("apache-tvm"), flags)

    def build(self, source: Source, target: Target, folder: Path) -> Artifact:
        """Writes `kernel.cu` (generated), `kernel.tvm` (the schedule's result) and `kernel.cubin`.

        Raises:
            BuildError: the schedule does not apply, or TVM or NVRTC refuses what came of it.
            Unavailable: the target is no CUDA target.
            MissingExtra: a wheel is not installed.
        """
        generated, script = _generate(source, target)
        (folder / "kernel.tvm").write_text(script)
        (folder / "kernel.cu").write_text(generated.text)
        cubin, spills = _nvrtc.compile_cubin(generated.text, target.arch)
        return pack(cubin, spills, generated, self.toolchain(target), folder)


def cuda_source(source: Source, target: Target) -> Source:
    """The CUDA C that TVM generates, as a source of language `nvrtc`: for the emulator, or to look at.

    Raises:
        BuildError: the schedule does not apply, or TVM refuses it.
        Unavailable: the target is no CUDA target.
    """
    return _generate(source, target)[0]


def _generate(source: Source, target: Target) -> tuple[Source, str]:
    if target.kind != "cuda":
        raise Unavailable(f"this builder compiles TensorIR for CUDA targets, not for {target.name}")
    import tvm

    if is_trace(source):
        made = scheduled(source)
        source = replace(source, launch=launch_of(made))
    try:
        if not is_trace(source):
            module, _, name = source.text.partition(":")
            made = getattr(importlib.import_module(module), name)(source.options)
        gpu = tvm.target.Target({"kind": "cuda", "arch": target.arch})
        with tvm.transform.PassContext(opt_level=3, config=dict(_CONFIG)):
            library = tvm.compile(made, target=gpu)
        text = library.mod.imports[0].inspect_source()
    except Exception as error:
        raise BuildError(f"TVM cannot make it: {_reason(error)}") from None
    # TVM writes each kernel twice, a declaration and a definition.
    if (kernels := len({found[1] for found in _DECLARATION.findall(text)})) > 1:
        raise BuildError(f"TVM generated {kernels} kernels: an artifact is one")
    declared = _DECLARATION.search(text)
    if declared is None or declared[2] != source.entry:
        raise BuildError(f"TVM generated no kernel {source.entry!r}")
    _check_threads(source, int(declared[1]))
    by_name = {argument.name: argument for argument in source.arguments}
    arguments = []
    for parameter in declared[3].split(","):
        found = _PARAMETER.search(parameter.strip())
        if found is None or found[1] not in by_name:
            raise BuildError(f"TVM generated a parameter that is not understood: {parameter.strip()!r}")
        arguments.append(by_name[found[1]])  # TVM orders them as it comes upon them
    generated = replace(source, language="nvrtc", text=text, arguments=tuple(arguments), options={})
    return generated, made.script()


def _check_threads(source: Source, threads: int) -> None:
    block = source.launch.block if source.launch else (0, 0, 0)
    if block[0] * block[1] * block[2] != threads:
        raise BuildError(f"TVM generated a block of {threads} threads, not {block}")


def _reason(error: Exception) -> str:
    """The line that says why, then all of it: TVM's messages begin with where in its own source."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if "rror" in line and not line.startswith("File")]
    return f"{(marked or lines or [type(error).__name__])[0]}\n{text[:20_000]}"
