"""Checks kernels on a machine that has not their device: right or wrong, and every stray access or race.

CUDA runs on the emulator with its sanitizers, Triton in Triton's interpreter (right or wrong only); a
plug-in's kernel in what its builder, or an emulator of its target, offers. What comes of it is evidence
`emulated`: there is no time in it.
"""

import atexit
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner import registry
from tuner.core.builder import Builder
from tuner.core.emulator import Emulated, Emulator, Interpreter
from tuner.core.errors import BuildError, InvalidConfig, TunerError, Unavailable, UnknownName
from tuner.core.kernel import Kernel, Source
from tuner.core.operator import Operator, Tensors, special_mismatch, worst_error
from tuner.core.scratch import Scratch
from tuner.core.space import Config, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload

# The emulator runs about 10^7 multiply-adds a second; more than this is minutes.
MAX_FLOPS = 2 * 10**9


@dataclass(frozen=True)
class Checked:
    """What came of checking one configuration on one workload.

    Attributes:
        workload, config: what ran.
        status: `ok`, `wrong_result`, `findings`, `crash`, `build_error`, or `nvrtc_refuses` where the
            emulator found nothing and the compiler for GPUs does not take it.
        findings: of the sanitizers, as plain values and as text.
        max_error: as a share of the tolerance; `None` where it did not run to its end.
        error: the reason where `status` is not `ok`.
        sanitized: whether the sanitizers watched; never where the source was interpreted.
        banks: bank conflicts of shared memory by line, where the sanitizers watched (`BankUse`).
        note: what NVRTC said of it, or why it was not asked.
    """

    workload: Workload
    config: Config
    status: str
    findings: tuple[Any, ...] = ()
    max_error: float | None = None
    error: str = ""
    sanitized: bool = True
    banks: tuple[Any, ...] = ()
    note: str = ""

    @property
    def clean(self) -> bool:
        """Right, and nothing was found."""
        return self.status == "ok"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "workload": self.workload.key, "config": dict(self.config), "status": self.status,
            "findings": [f.as_dict() for f in self.findings], "max_error": self.max_error,
            "error": self.error or None, "sanitized": self.sanitized, "evidence": "emulated",
            "note": self.note or None, "banks": [use.as_dict() for use in self.banks],
        }  # fmt: skip


def kernel_of(name_or_path: str) -> Kernel:
    """A registered kernel by name, or a kernel declared in somebody's own `.cu` file by path.

    Raises:
        UnknownName, InvalidSpace: there is none, the file's declaration is wrong.
        TunerError: it runs in no emulator and no interpreter.
    """
    path = Path(name_or_path)
    is_file = path.suffix in (".cu", ".cpp")
    kernel: Kernel = registry.source_kernel(path) if is_file else registry.kernel(name_or_path)
    if not any(_interprets(kernel, kind) or emulators(kind) for kind in kernel.target_kinds):
        able = sorted({each.target_kind for each in emulators()})
        raise TunerError(
            f"kernel {kernel.name} is for {' and '.join(kernel.target_kinds)}; 'tuner check' is for what an "
            f"interpreter runs, or an emulator of {', '.join(able)} targets"
        )
    return kernel


def emulators(target_kind: str | None = None) -> list[type[Emulator]]:
    """Device classes that stand for targets of a kind (default: of any) on this machine's CPU."""
    found = [item for item in registry.device_classes().values() if issubclass(item, Emulator)]
    return [item for item in found if target_kind in (None, item.target_kind)]


def _interprets(kernel: Kernel, target_kind: str) -> bool:
    try:
        return registry.builder_for(kernel.language, target_kind).interprets
    except UnknownName:
        return False


def choose_configs(space: SearchSpace, config: Config | None, count: int, seed: int) -> list[Config]:
    """The one configuration asked for, or `count` distinct random valid ones.

    Raises:
        InvalidConfig: the configuration is not valid; names the parameter or constraint.
    """
    if config is not None:
        return [space.check(config)]
    if space.default is not None:
        return [space.default]
    if space.size == 0:
        raise InvalidConfig("no configuration is valid for this shape on this target")
    rng = random.Random(seed)
    if space.size is not None and space.size <= count:
        return list(space)
    chosen: dict[str, Config] = {}
    while len(chosen) < count:
        drawn = space.sample(rng)
        chosen.setdefault(repr(sorted(drawn.items())), drawn)
    return list(chosen.values())


def require(kernel: Kernel, workload: Workload, target: Target) -> None:
    """As `Kernel.require`, of a kernel that only has to run here: one that no device times will do."""
    if kernel.checked_only is None:
        kernel.require(workload, target)
    elif reason := kernel.unsupported(workload, target):
        raise Unavailable(f"kernel {kernel.name} cannot serve {workload.key} on {target.name}: {reason}")


def check_kernel(
    kernel: Kernel, workloads: Sequence[Workload], configs: Sequence[Config], target: Target, seed: int = 0,
    sanitize: bool = True, timeout_s: float = 120.0, nvrtc: bool = False,
) -> Iterator[Checked]:  # fmt: skip
    """Checks every configuration on every workload, yielding as it goes.

    Each runs twice: on random inputs, and, where the kernel honours them, on special values.

    Args:
        kernel: one that `kernel_of` takes.
        workloads: small ones: everything is emulated.
        configs: valid ones.
        target: whose limits the launch must keep.
        seed: of the inputs; other than 0 the emulator's threads also run in an order of their own.
        sanitize: watch every access.
        timeout_s: of one run.
        nvrtc: compile CUDA with NVRTC too, where it is installed.

    Raises:
        TunerError: a workload is too large to emulate; the emulator or an extra is missing.
    """
    operator = registry.operator(kernel.operator)
    for workload in workloads:
        require(kernel, workload, target)
        if operator.flops(workload) > MAX_FLOPS:
            raise TunerError(
                f"{workload.key} is too large to emulate: at most 2e9 operations, e.g. 256x256x256"
            )
    run = _interpreted if _interprets(kernel, target.kind) else _emulated
    for workload in workloads:
        inputs = operator.inputs(workload, seed)
        for config in configs:
            case = _Case(kernel, operator, workload, config, target, inputs, seed, sanitize, timeout_s)
            result = run(case)
            # What is emulated is CUDA C++, written or generated: `_source` has no other.
            if nvrtc and run is _emulated and result.status != "build_error":
                result = _with_nvrtc(result, _source(case), target)
            yield result


def _with_nvrtc(result: Checked, source: Source, target: Target) -> Checked:
    from tuner.engine.examine.nvrtc import ask_nvrtc

    refused, why = ask_nvrtc(source, target)
    if refused and result.clean:
        return replace(result, status="nvrtc_refuses", error=why)
    return replace(result, note=why)


@dataclass(frozen=True, slots=True)
class _Case:
    """One configuration on one workload, and how it is run."""

    kernel: Kernel
    operator: Operator
    workload: Workload
    config: Config
    target: Target
    inputs: Tensors
    seed: int
    sanitize: bool
    timeout_s: float

    def reference(self, inputs: Tensors) -> tuple[Tensors, Tensors]:
        """The reference and the tolerance, by the type of the kernel's sums where that is its own."""
        reference = self.operator.reference(self.workload, inputs)
        accumulator = self.kernel.accumulator
        return reference, self.operator.tolerance_of(self.workload, inputs, reference, accumulator)

    def special_inputs(self) -> Tensors:
        """Inputs with special values, where the kernel honours them; else none."""
        return self.operator.special_inputs(self.workload, self.seed) if self.kernel.special_values else {}

    def tensors(self) -> tuple[Tensors, list[str]]:
        """Inputs with outputs that nobody wrote yet, and the names of the outputs."""
        import numpy as np

        outputs = [spec for spec in self.operator.signature(self.workload) if spec.output]
        zeros = {s.name: np.zeros(s.shape, s.dtype) for s in outputs}
        return {**self.inputs, **zeros}, [s.name for s in outputs]

    def ended(
        self, status: str, error: str = "", share: float | None = None, findings: Sequence[Any] = (),
        banks: Sequence[Any] = (),
    ) -> Checked:  # fmt: skip
        """What came of it; `share` of the tolerance."""
        return Checked(
            self.workload, self.config, status, tuple(findings), share, error, self.sanitize, tuple(banks)
        )


def _verdict(case: _Case, inputs: Tensors, outputs: Tensors) -> tuple[float, str]:
    return worst_error(outputs, *case.reference(inputs))


def _special_verdict(case: _Case, inputs: Tensors, outputs: Tensors) -> str | None:
    wrong = special_mismatch(outputs, *case.reference(inputs))
    return f"with special values (NaN, infinities, ends of the range): {wrong}" if wrong else None


def _source(case: _Case) -> Source:
    # TensorIR and others that generate CUDA: their builder gives the generated source.
    kernel = case.kernel
    source = kernel.lower(case.workload, case.config, case.target)
    generated = registry.builder_of(kernel, case.target).cuda_source(source, case.target)
    if generated is None:
        raise Unavailable(f"kernel {kernel.name} ({kernel.language}) has no source to emulate")
    return generated


def _begun(kernel: Kernel, given: Tensors, workspaces: Mapping[str, int]) -> Tensors:
    """What outputs and workspaces hold at the start, as the kernel's declaration says."""
    import numpy as np

    begun = {}
    for name, first in kernel.initial.items():
        if isinstance(first, str):
            if first in given:
                begun[name] = given[first].copy()
        elif name in given:
            begun[name] = np.full_like(given[name], first)
        elif name in workspaces:
            begun[name] = np.full(workspaces[name] // 4, first, np.float32)
    return begun


def _emulated(case: _Case) -> Checked:
    emulator, builder = _emulator(case.target)
    tensors, outputs = case.tensors()
    special = case.special_inputs()
    with Scratch("check_emulated-") as folder:
        try:
            source = _source(case)
            source = replace(source, options={**source.options, "sanitize": case.sanitize})
            artifact = builder.build(source, case.target, folder)
        except BuildError as error:
            return case.ended("build_error", str(error))

        def run(given: Tensors) -> Emulated:
            begun = _begun(case.kernel, given, artifact.workspaces)
            written = {*outputs, *begun}
            return emulator.examine(
                artifact, {**given, **begun}, written, case.seed, case.timeout_s, set(begun)
            )

        result = again = run(tensors)
        if result.completed and special:
            again = run({**tensors, **special})
    if not again.completed:
        result = again
    findings = result.findings
    if not result.completed:
        # What was refused before it ran has not crashed.
        refused = any(finding.kind == "host_code" for finding in findings)
        return case.ended("findings" if refused else "crash", result.error, None, findings)
    banks = getattr(result, "banks", ())  # of an emulator that counts them
    share, where = _verdict(case, case.inputs, dict(result.outputs))
    if not share <= 1.0:
        reason = f"{where} ({share:.3g} times the tolerance)"
        return case.ended("wrong_result", reason, share, findings, banks)
    if findings:
        return case.ended("findings", str(findings[0]), share, findings, banks)
    if special and (wrong := _special_verdict(case, special, dict(again.outputs))):
        return case.ended("wrong_result", wrong, share, (), banks)
    return case.ended("ok", "", share, (), banks)


def _emulator(target: Target) -> tuple[Emulator, Builder]:
    found = emulators(target.kind)
    if not found:
        raise Unavailable(f"no emulator stands for {target.name}")
    builder = registry.builder(found[0].builder)
    if reason := found[0].unavailable() or builder.unavailable():
        raise Unavailable(f"the emulator cannot be used: {reason}")
    return found[0](target), builder


def _interpreted(case: _Case) -> Checked:
    case = replace(case, sanitize=False)
    tensors, outputs = case.tensors()
    builder = registry.builder_of(case.kernel, case.target)

    def run(given: Tensors) -> Tensors:
        for name in outputs:
            tensors[name].view("uint8")[...] = 0xFF  # NaN: what is not written is wrong
        source = case.kernel.lower(case.workload, case.config, case.target)
        found = _interpreter(builder).run(source, {**tensors, **given}, case.timeout_s)
        return {name: found[name] for name in outputs}

    special = case.special_inputs()
    try:
        share, where = _verdict(case, case.inputs, run({}))
        if not share <= 1.0:
            return case.ended("wrong_result", where, share)
        if special and (wrong := _special_verdict(case, special, run(special))):
            return case.ended("wrong_result", wrong, share)
    except RuntimeError as error:
        return case.ended("crash", str(error))
    return case.ended("ok", "", share)


_kept: dict[str, Interpreter] = {}


def _interpreter(builder: Builder) -> Interpreter:
    """One interpreter of a language for all configurations: importing torch takes seconds."""
    kept = _kept.get(builder.name)
    if kept is None or not kept.alive:  # the last kernel took it along
        kept = _kept[builder.name] = builder.interpreter()
        atexit.register(kept.close)
    return kept
