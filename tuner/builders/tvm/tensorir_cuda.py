"""TensorIR for CUDA: TVM's code generator writes CUDA C, NVRTC compiles it; neither needs a GPU or a toolkit.

A source's text is `module:function`: called with the source's options it gives a scheduled `tvm.IRModule` of
one function. With an option `trace` the text is the TVMScript of a program, and the trace schedules it. A
schedule may be several kernels; they become the steps of the artifact.
"""

import importlib
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tuner.builders.cuda import nvrtc_program
from tuner.builders.cuda.nvrtc import pack
from tuner.builders.tvm.cuda_program import cuda_program
from tuner.builders.tvm.trace import is_trace, scheduled
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.builder import Builder
from tuner.core.errors import BuildError, Unavailable
from tuner.core.kernel import Launch, Source
from tuner.core.target import Target


class TensorIRCudaBuilder(Builder):
    """Compiles scheduled TensorIR (language `tensorir`) for any CUDA target."""

    name = "tensorir_cuda"
    language = "tensorir"
    target_kinds = ("cuda",)
    preload = ("tuner.builders.tvm.warm", "cuda.core")

    def unavailable(self) -> str | None:
        """TVM or a wheel of the `cuda` extra is missing."""
        if find_spec("tvm") is None:
            return "TVM is not installed: pip install apache-tvm"
        name = nvrtc_program.missing()
        return f"{name} is not installed: pip install 'kernel-tuner-lab[cuda]'" if name else None

    def warm_up(self) -> None:
        """Loads NVRTC's libraries."""
        nvrtc_program.compile_cubin('extern "C" __global__ void empty() {}', "sm_80")

    def toolchain(self, target: Target) -> Toolchain:
        """TVM's version and NVRTC's.

        Raises:
            MissingExtra: NVRTC is not installed.
        """
        flags = (f"nvrtc={nvrtc_program.version()}", f"-std={nvrtc_program.STANDARD}")
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
        cubin, spills = nvrtc_program.compile_cubin(generated.text, target.arch)
        return pack(cubin, spills, generated, self.toolchain(target), folder)

    def cuda_source(self, source: Source, target: Target) -> Source:
        """The CUDA C that TVM generates, as a source of language `nvrtc`: for the emulator, or to look at.

        Raises:
            BuildError: the schedule does not apply, or TVM refuses it.
            Unavailable: the target is no CUDA target.
        """
        return _generate(source, target)[0]


def _generate(source: Source, target: Target) -> tuple[Source, str]:
    if target.kind not in TensorIRCudaBuilder.target_kinds:
        raise Unavailable(f"this builder compiles TensorIR for CUDA targets, not for {target.name}")
    made = scheduled(source) if is_trace(source) else None
    try:
        if made is None:
            module, _, name = source.text.partition(":")
            made = getattr(importlib.import_module(module), name)(source.options)
        tensors = {argument.name: argument for argument in source.arguments}
        text, steps = cuda_program(made, tensors, target.arch)
    except BuildError:
        raise
    except Exception as error:
        raise BuildError(f"TVM cannot make it: {_reason(error)}") from None
    if not steps:
        raise BuildError("TVM generated no kernel")
    *before, last = steps
    if source.launch is not None and before:
        raise BuildError(f"TVM generated {len(steps)} kernels, not one")
    if source.launch not in (None, last.launch):
        raise BuildError(f"TVM generated {_said(last.launch)}, not {_said(source.launch)}")
    generated = replace(
        source, language="nvrtc", text=text, entry=last.entry, arguments=last.arguments, launch=last.launch,
        options={"generated": True}, before=tuple(before), metrics=last.metrics,
    )  # fmt: skip
    return generated, made.script()


def _said(launch: Launch | None) -> str:
    assert launch is not None
    grid, threads = launch.grid, launch.block[0] * launch.block[1] * launch.block[2]
    return f"a grid of {grid} with a block of {threads} threads {launch.block}"


def _reason(error: Exception) -> str:
    """The line that says why, then all of it: TVM's messages begin with where in its own source."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if "rror" in line and not line.startswith("File")]
    return f"{(marked or lines or [type(error).__name__])[0]}\n{text[:20_000]}"
