"""Random cases for any GPU kernel, and what it takes to judge one on a machine without a GPU."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.kernels.draws import DRAW
from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.builders.triton.interpreter import TritonInterpreter
from tuner.core.kernel import Kernel, Source
from tuner.core.operator import Operator, Tensors, special_mismatch, worst_error
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.emulator.check import check_emulated
from tuner.targets.cuda import target

KERNELS = [
    kernel
    for _, kernel in sorted(registry.kernels().items())
    if "cuda" in kernel.target_kinds and not kernel.baseline and not kernel.searcher
]
"""Every registered GPU kernel but libraries, and those whose space is open: a trace is of one workload."""
ARCHES = ("sm_75", "sm_80", "sm_86", "sm_90")
# Emulated in about a second: operations of a case, and programs of one in Triton's interpreter.
_MOST_FLOPS, _MOST_PROGRAMS = 4 * 10**6, 48


@dataclass(frozen=True)
class Case:
    """A valid configuration of a kernel and a ragged workload for it."""

    kernel: Kernel
    workload: Workload
    config: Config
    target: Target
    seed: int

    @property
    def operator(self) -> Operator:
        return registry.operator(self.kernel.operator)

    def __str__(self) -> str:
        return f"{self.kernel.name} {self.workload.key} {dict(self.config)} on {self.target.name}"


def draw(kernel: Kernel, number: int) -> Case:
    """The case of a number: dtypes in turn, a workload and a target that the kernel serves."""
    rng = random.Random(f"{kernel.name} {number}")
    dtype = kernel.dtypes[number % len(kernel.dtypes)]
    for _ in range(5000):
        workload, chosen = DRAW[kernel.operator](rng, dtype), small(target(rng.choice(ARCHES)))
        if (
            kernel.unsupported(workload, chosen)
            or registry.operator(kernel.operator).flops(workload) > _MOST_FLOPS
        ):
            continue
        config = kernel.space(_roomy(kernel, workload, number % 4 == 3), chosen).sample(rng)
        launch = kernel.lower(workload, config, chosen).launch
        if kernel.language == "triton" and launch and np.prod(launch.grid) > _MOST_PROGRAMS:
            continue
        return Case(kernel, workload, config, chosen, number + 1)
    raise AssertionError(f"{kernel.name} supports next to nothing that is small")


def small(chosen: Target, sms: int = 6) -> Target:
    """With so few SMs that a persistent block works on several tiles of a small matrix."""
    return replace(chosen, limits={**chosen.limits, "sm_count": sms})


def _roomy(kernel: Kernel, workload: Workload, deep: bool) -> Workload:
    """The workload whose space a configuration is drawn from. Where one artifact computes all sizes it is a
    large one, so that tiles straddle and overshoot the small workload. A `deep` product has few tiles, so
    that kernels may share out the depth of each."""
    options, operator = dict(workload.options), registry.operator(workload.operator)
    if workload.operator == "gemm":
        m, n, k = (128, 128, 4096) if deep else (1024, 1024, 1024)
        return operator.workload(workload.dtype, m=m, n=n, k=k, **options)
    if workload.operator == "conv2d" and kernel.shape_generic:
        sizes = {**dict(workload.dims), "n": 4, "h": 64, "w": 64}
        if options.get("groups", 1) == 1:
            sizes.update(c=256, k=256)
        return operator.workload(workload.dtype, **sizes, **options)
    return workload


def wrong(case: Case, folder: Path, interpreter: Callable[[], TritonInterpreter]) -> str | None:
    """What is wrong with the kernel in this case, on random inputs and on special values; `None` if nothing.

    CUDA and TensorIR run twice on the emulator with all sanitizers, threads in an order of their own; Triton
    in its interpreter. An artifact that takes its dimensions as arguments also computes the operator's
    companions of the workload.
    """
    judge = _triton(case, interpreter()) if case.kernel.language == "triton" else _cuda(case, folder)
    others = case.operator.companions(case.workload) if case.kernel.shape_generic else ()
    for workload in (case.workload, *others):
        if case.kernel.unsupported(workload, case.target) is None and (
            found := _verdict(case, workload, judge)
        ):
            return f"{case} on {workload.key}: {found}"
    return None


_Judge = Callable[[Workload, Tensors], tuple[Tensors, str]]


def _verdict(case: Case, workload: Workload, judge: _Judge) -> str | None:
    operator = case.operator
    inputs = operator.inputs(workload, case.seed)
    outputs, found = judge(workload, inputs)
    if found:
        return found
    reference = operator.reference(workload, inputs)
    share, where = worst_error(outputs, reference, operator.tolerance(workload, inputs, reference))
    if not share <= 1:
        return where
    if not case.kernel.special_values:
        return None
    inputs = operator.special_inputs(workload, case.seed)
    outputs, found = judge(workload, inputs)
    if not found:
        reference = operator.reference(workload, inputs)
        found = special_mismatch(outputs, reference, operator.tolerance(workload, inputs, reference)) or ""
    return f"with special values: {found}" if found else None


def _blank(operator: Operator, workload: Workload) -> Tensors:
    specs = [spec for spec in operator.signature(workload) if spec.output]
    tensors = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}
    for tensor in tensors.values():
        tensor.view("uint8")[...] = 0xFF  # NaN: what is not written is wrong
    return tensors


def _cuda(case: Case, folder: Path) -> _Judge:
    def lowered(workload: Workload) -> Source:
        source: Source | None = case.kernel.lower(workload, case.config, case.target)
        if case.kernel.language != "nvrtc":
            source = registry.builder_of(case.kernel, case.target).cuda_source(source, case.target)
        assert source is not None
        return source

    folder.mkdir(parents=True)
    artifact = CudaEmulatedBuilder(sanitize=True).build(lowered(case.workload), case.target, folder)

    def judge(workload: Workload, inputs: Tensors) -> tuple[Tensors, str]:
        here, blank = artifact, _blank(case.operator, workload)
        if workload is not case.workload:
            source = lowered(workload)
            here = replace(artifact, arguments=source.arguments, launch=source.launch)
        # Two launches: what the first leaves in a workspace must not matter to the second.
        result = check_emulated(
            here, case.target, {**inputs, **blank}, list(blank), launches=2, seed=case.seed, timeout_s=150
        )
        found = "" if result.completed else result.error
        return dict(result.outputs), found or "; ".join(map(str, result.findings[:3]))

    return judge


def _triton(case: Case, interpreter: TritonInterpreter) -> _Judge:
    def judge(workload: Workload, inputs: Tensors) -> tuple[Tensors, str]:
        source = case.kernel.lower(workload, case.config, case.target)
        blank = _blank(case.operator, workload)
        after = interpreter.run(source, {**inputs, **blank}, timeout_s=150)
        changed = [name for name in inputs if after[name].tobytes() != inputs[name].tobytes()]
        if changed:
            return {}, f"{changed[0]} was changed"
        if "arrived" in after and after["arrived"].any():
            return {}, "counts are left for the next call"
        return {name: after[name] for name in blank}, ""

    return judge
