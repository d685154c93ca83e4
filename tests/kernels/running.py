"""A kernel on a workload without the engine: built once, called on guarded tensors, compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.dtypes import floating
from tuner.core.guarded import Guarded, same_bits
from tuner.core.kernel import Kernel
from tuner.core.operator import special_mismatch, worst_error
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.tensors import Tensors
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice

OWN = frozenset(CpuDevice().target.features)
"""Features of this processor."""
_TILES = ("amx-bf16", "amx-int8", "amx-tile")


def with_tiles(target: Target) -> Target:
    """The target with tile registers, where 512-bit vectors can stand in for them (amx_emulated.h)."""
    if not {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= OWN & set(target.features):
        return target
    return replace(target, features=tuple(sorted({*target.features, *_TILES})))


def lacking(kernel: Kernel, target: Target, dtype: str) -> set[str]:
    """Features of a processor that a kernel requires for a dtype and a target lacks."""
    return set(kernel.required(dtype)) - set(target.features)


def has(kernel: Kernel, target: Target) -> list[str]:
    """Those of a kernel's dtypes for which a target lacks nothing."""
    return [dtype for dtype in kernel.dtypes if not lacking(kernel, target, dtype)]


class Run:
    """One built configuration of a CPU kernel.

    Args:
        kernel, workload, config, target: what is built.
        folder: takes the build; made if it is not there.
    """

    def __init__(
        self, kernel: Kernel, workload: Workload, config: Config, target: Target, folder: Path
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kernel, self.workload, self.config, self.target = kernel, workload, config, target
        source = kernel.lower(workload, config, target)
        emulated = {f for f in target.features if f in _TILES and f not in OWN}
        if emulated:
            flags = [*source.options.get("flags", ()), "-DAMX_EMULATED=1"]
            source = replace(source, options={**source.options, "flags": flags})
            target = replace(target, features=tuple(f for f in target.features if f not in emulated))
        self.artifact: Artifact = registry.builder_of(kernel, target).build(source, target, folder)

    def computed(self, workload: Workload, inputs: Tensors) -> Tensors:
        """The outputs of two calls on poisoned, guarded tensors.

        The workload may be another one than that of the build, of the same dtype and options, where the
        kernel takes its dimensions as arguments. Stray writes and changed inputs are assertion errors.
        """
        artifact, operator = self.artifact, registry.operator(workload.operator)
        if workload != self.workload:
            assert self.kernel.shape_generic, self.kernel.name
            artifact = artifact.sized(self.kernel.lower(workload, self.config, self.target))
        signature = operator.signature(workload)
        tensors = {s.name: Guarded(s.shape, s.dtype) for s in signature}
        for spec in signature:
            array = tensors[spec.name].array
            if spec.output:
                # Integers have no NaN: a value that no small sum of products comes near.
                array[...] = np.nan if floating(array.dtype) else np.iinfo(array.dtype).min
            else:
                array[...] = inputs[spec.name]
        executable = CpuDevice().load(artifact)
        executable.bind({name: tensor.array for name, tensor in tensors.items()})
        with np.errstate(all="ignore"):  # NumPy's kernels compute in this process
            for _ in range(2):  # the second call must not build on what the first one left
                executable.run()
        where = f"{self.kernel.name} {dict(self.config)} on {workload.key}"
        for name, tensor in tensors.items():
            assert tensor.damage() is None, f"{where}: {name}: {tensor.damage()}"
            if name in inputs:
                assert same_bits(tensor.array, np.ascontiguousarray(inputs[name])), f"{where}: {name} changed"
        return {s.name: np.array(executable.read(s.name)) for s in signature if s.output}

    def error(self, workload: Workload, seed: int = 0) -> tuple[float, str]:
        """`worst_error` on the random inputs of a seed, as a share of the tolerance, and where it is."""
        operator = registry.operator(workload.operator)
        inputs = operator.inputs(workload, seed)
        reference = operator.reference(workload, inputs)
        tolerance = operator.tolerance(workload, inputs, reference)
        worst, where = worst_error(self.computed(workload, inputs), reference, tolerance)
        return worst, f"{self.kernel.name} {dict(self.config)} on {workload.key}: {where}"

    def mismatch(self, workload: Workload, seed: int) -> str | None:
        """What is wrong with the outputs on `special_inputs`: NaN, infinities, the ends of a type's range."""
        operator = registry.operator(workload.operator)
        inputs = operator.special_inputs(workload, seed)
        reference = operator.reference(workload, inputs)
        tolerance = operator.tolerance(workload, inputs, reference)
        return special_mismatch(self.computed(workload, inputs), reference, tolerance)
