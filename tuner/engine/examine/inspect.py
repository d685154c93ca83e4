"""Every stage of one candidate, from source to machine code, with resources and roofline position.

A builder leaves what it makes in the artifact's folder; each text file there is a stage. What needs a
disassembler is added: SASS of a cubin (nvdisasm), x86 of a shared library (objdump), PTX of CUDA C++ (NVRTC).
"""

import difflib
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.compute_capability import arch_for
from tuner.core.errors import BuildError, TunerError
from tuner.core.kernel import Kernel, Source
from tuner.core.scratch import Scratch
from tuner.core.space import Config
from tuner.core.target import Prediction, Target
from tuner.core.workload import Workload

# Endings in the order of lowering: what it shows, and the language for colours.
_STAGES = {
    ".before": ("TensorIR before scheduling", "python"),
    ".tvm": ("TensorIR after scheduling", "python"),
    ".ttir": ("Triton IR", "llvm"),
    ".ttgir": ("Triton GPU IR", "llvm"),
    ".c": ("C", "c"),
    ".cpp": ("C++", "cpp"),
    ".cu": ("CUDA C++", "cuda"),
    ".llir": ("LLVM IR", "llvm"),
    ".ll": ("LLVM IR", "llvm"),
    ".ptx": ("PTX", "gas"),
    ".s": ("x86 assembly", "gas"),
}
_MOST = 400_000


@dataclass(frozen=True)
class Stage:
    """One form of the candidate.

    Attributes:
        name: `CUDA C++`, `PTX`, `SASS`, ...
        language: for syntax colours.
        text: the whole of it.
    """

    name: str
    language: str
    text: str


@dataclass(frozen=True)
class CandidateInspection:
    """All that can be seen of a candidate without running it.

    Attributes:
        kernel, workload, config, target: which.
        stages: in the order of lowering.
        metrics: of the artifact, with what the target's model adds: occupancy for a GPU.
        problem: why the target cannot hold it; `None` where it can.
        flops, min_bytes: of one call.
        prediction: of the target's model, where it has one; never a measurement.
    """

    kernel: str
    workload: Workload
    config: Config
    target: Target
    stages: tuple[Stage, ...]
    metrics: Mapping[str, float]
    problem: str | None
    flops: int
    min_bytes: int
    prediction: Prediction | None = None
    toolchain: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def intensity(self) -> float:
        """Operations a byte that must move."""
        return self.flops / self.min_bytes

    def roofline(self) -> dict[str, float]:
        """Where the workload lies under the target's stated (GPU) or measured (CPU) roofs.

        `ridge` in operations a byte; `attainable_flops` is min(peak, intensity * bandwidth) (Williams,
        Waterman, Patterson, CACM 2009). Empty where the roofs are not known.
        """
        limits = {**self.target.limits, **self.limits}
        peak = limits.get(f"peak_flops_{self.workload.dtype}")
        bandwidth = limits.get("bandwidth_bytes_per_s")
        if not peak or not bandwidth:
            return {}
        return {
            "intensity": self.intensity,
            "ridge": peak / bandwidth,
            "attainable_flops": min(peak, self.intensity * bandwidth),
            "peak_flops": peak,
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        predicted = self.prediction
        return {
            "kernel": self.kernel, "workload": self.workload.key, "config": dict(self.config),
            "target": self.target.name, "toolchain": self.toolchain, "metrics": dict(self.metrics),
            "problem": self.problem, "flops": self.flops, "min_bytes": self.min_bytes,
            "roofline": self.roofline(),
            "predicted": None if predicted is None else {
                "evidence": "predicted", "time_s": predicted.time_s, "bound": predicted.bound,
                "parts_s": dict(predicted.parts), **predicted.figures,
            },
            "stages": [{"name": s.name, "language": s.language, "text": s.text} for s in self.stages],
        }  # fmt: skip


def inspect(
    kernel: Kernel, workload: Workload, config: Config, target: Target,
    limits: Mapping[str, float] | None = None,
) -> CandidateInspection:  # fmt: skip
    """Lowers and builds one configuration in a temporary folder and collects its stages.

    Args:
        kernel, workload, config, target: which candidate.
        limits: measured roofs of the device, where the target states none.

    Raises:
        InvalidConfig: the configuration is not valid.
        BuildError: it does not compile.
    """
    kernel.require(workload, target)
    config = kernel.space(workload, target).check(config)
    builder = registry.builder_of(kernel, target)
    if reason := builder.unavailable():
        raise TunerError(f"kernel {kernel.name} cannot be built here: {reason}")
    operator = registry.operator(workload.operator)
    with Scratch("inspect-") as folder:
        with _recorded(kernel.language, folder / "kernel.before"):
            source = kernel.lower(workload, config, target)
            artifact = builder.build(source, target, folder)
        stages = _stages(folder, source, artifact, target)
    prediction = None
    if target.model is not None:
        features = kernel.features(workload, config, target)
        prediction = target.predict(operator, workload, artifact, features)
    chain = artifact.toolchain
    return CandidateInspection(
        kernel.name, workload, config, target, tuple(stages),
        target.metrics(artifact), target.problem(artifact), operator.flops(workload),
        operator.min_bytes(workload), prediction,
        " ".join([chain.name, chain.version]), dict(limits or {}),
    )  # fmt: skip


@contextmanager
def _recorded(language: str, path: Path) -> Iterator[None]:
    """Writes the program that a TensorIR kernel hands to its schedule, as it was before scheduling.

    Kernels make a program and schedule it in one go, in `lower` or in the build; what the first `Schedule` is
    made of is the stage before. Trials do not pay for it: only this process looks.
    """
    if not language.startswith("tensorir"):
        yield
        return
    import tvm.s_tir

    original = tvm.s_tir.Schedule

    def recording(module: Any, *rest: Any, **options: Any) -> Any:
        if not path.exists():
            path.write_text(module.script(show_meta=False))
        return original(module, *rest, **options)

    tvm.s_tir.Schedule = recording
    try:
        yield
    finally:
        tvm.s_tir.Schedule = original


def _stages(folder: Path, source: Source, artifact: Artifact, target: Target) -> list[Stage]:
    found = []
    files = {path.suffix: path for path in sorted(folder.iterdir()) if path.is_file()}
    for suffix, (name, language) in _STAGES.items():
        if suffix in files:
            found.append(Stage(name, language, _read(files[suffix])))
    if source.language == "nvrtc" and ".ptx" not in files:
        found.append(Stage("PTX", "gas", _ptx(source, target)))
    if ".cubin" in files:
        from tuner.builders.cuda.sass import disassemble

        found.append(Stage("SASS", "gas", _clip(disassemble(files[".cubin"]))))
    elif ".so" in files and ".s" not in files and shutil.which("objdump"):
        command = ["objdump", "-d", "--no-show-raw-insn", "-M", "intel", str(files.get(".o", files[".so"]))]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        text = re.sub(r"^.*file format.*$", "", done.stdout, flags=re.MULTILINE).strip()
        found.append(Stage("x86 assembly", "gas", _clip(text)))
    return found


def _ptx(source: Source, target: Target) -> str:
    from tuner.builders.cuda import nvrtc_program

    include = [source.options["include"]] if "include" in source.options else []
    arch = arch_for(target.arch, source.options.get("requires", ()))
    try:
        return _clip(nvrtc_program.ptx(source.text, arch, include, source.options.get("flags", ())))
    except BuildError as error:
        return f"// no PTX: {error}"


def _read(path: Path) -> str:
    return _clip(path.read_text(errors="replace"))


def _clip(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST]}\n... {len(text) - _MOST} more characters"


def stage_diffs(before: CandidateInspection, after: CandidateInspection, context: int = 3) -> list[Stage]:
    """Unified diffs of the stages of two candidates, stage by stage; empty text where nothing changed."""
    diffs = []
    later = {stage.name: stage for stage in after.stages}
    for stage in before.stages:
        other = later.get(stage.name)
        lines = difflib.unified_diff(
            stage.text.splitlines(), other.text.splitlines() if other else [],
            _config(before.config), _config(after.config), lineterm="", n=context,
        )  # fmt: skip
        diffs.append(Stage(stage.name, "diff", "\n".join(lines)))
    return diffs


def _config(config: Config) -> str:
    return " ".join(f"{name}={value}" for name, value in config.items())
