"""CUDA C++ to cubin with NVRTC: on any machine, with a GPU or without."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tuner.builders.cuda import gpu_metrics, nvrtc_program
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.builder import Builder
from tuner.core.compute_capability import arch_for
from tuner.core.errors import BuildError, Unavailable
from tuner.core.kernel import Source
from tuner.core.target import Target


class Nvrtc(Builder):
    """Builds `.cu` files (language `nvrtc`) for any CUDA target.

    A source's options: `include`, a folder of its own headers, `flags` (see `nvrtc_program`), and `requires`:
    features of the target that it uses. Those that only one capability has (`wgmma`) are built for that one.
    """

    name = "nvrtc"
    target_kinds = ("cuda",)
    preload = ("cuda.core",)

    def unavailable(self) -> str | None:
        """Says which wheel of the `cuda` extra is missing."""
        name = nvrtc_program.missing()
        return f"{name} is not installed: pip install 'kernel-tuner-lab[cuda]'" if name else None

    def warm_up(self) -> None:
        """Compiles an empty kernel: NVRTC loads 80 MB of libraries on first use."""
        nvrtc_program.compile_cubin('extern "C" __global__ void empty() {}', "sm_80")

    def toolchain(self, target: Target) -> Toolchain:
        """NVRTC's version, from its wheel.

        Raises:
            MissingExtra: it is not installed.
        """
        return Toolchain("nvrtc", nvrtc_program.version(), (f"-std={nvrtc_program.STANDARD}",))

    def cuda_source(self, source: Source, target: Target) -> Source:
        """The source itself."""
        return source

    def build(self, source: Source, target: Target, folder: Path) -> Artifact:
        """Writes `kernel.cu` and `kernel.cubin` into `folder`.

        Raises:
            BuildError: it does not compile, or it has no such entry.
            Unavailable: the target is no CUDA target.
            MissingExtra: a wheel is not installed.
        """
        if target.kind not in self.target_kinds:
            raise Unavailable(f"NVRTC compiles for CUDA targets, not for {target.name}")
        (folder / "kernel.cu").write_text(source.text)
        include = [source.options["include"]] if "include" in source.options else []
        flags = source.options.get("flags", ())
        toolchain = self.toolchain(target)
        arch = arch_for(target.arch, source.options.get("requires", ()))
        named = [step.entry for step in source.steps if _only_by_name(step.entry, source.text)]
        cubin, spills, symbols = nvrtc_program.compile_named(source.text, arch, named, include, flags)
        try:
            return pack(cubin, spills, _renamed(source, symbols), toolchain, folder)
        except BuildError as error:
            try:  # a kernel that is not extern "C", beside others that are
                cubin, spills, symbols = nvrtc_program.compile_named(
                    source.text, arch, [step.entry for step in source.steps], include, flags
                )
            except BuildError:
                raise error from None
            return pack(cubin, spills, _renamed(source, symbols), toolchain, folder)


def _only_by_name(entry: str, text: str) -> bool:
    """Whether a kernel is an instance of a template, lies in a namespace, or no function is extern "C".

    What the text does not tell (a name that a macro makes) is taken for a symbol.
    """
    return not entry.isidentifier() or (entry in text and 'extern "C"' not in text)


def _renamed(source: Source, symbols: Mapping[str, str]) -> Source:
    before = tuple(replace(step, entry=symbols.get(step.entry, step.entry)) for step in source.before)
    return replace(source, entry=symbols.get(source.entry, source.entry), before=before)


def pack(
    cubin: bytes, spills: dict[str, int], source: Source, toolchain: Toolchain, folder: Path
) -> Artifact:
    """The artifact of a cubin.

    Raises:
        BuildError: it has no kernel of the source's name, or of one of its steps.
    """
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    try:
        *before, last = gpu_metrics.measured(cubin, path, source, spills)
    except ValueError as error:
        raise BuildError(f'{error}; is it declared extern "C" __global__?') from None
    return Artifact(
        path,
        "cubin",
        source.entry,
        source.arguments,
        gpu_metrics.identity(cubin, source),
        toolchain,
        launch=source.launch,
        metrics=last.metrics,
        before=tuple(before),
    )
