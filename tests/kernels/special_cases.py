"""What it takes to run a kernel on special inputs without the engine."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.kernels import attention_cases, conv2d_cases
from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.errors import InvalidWorkload
from tuner.core.guarded import Guarded
from tuner.core.kernel import Kernel
from tuner.core.operator import special_mismatch
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice


def _gemm(rng: random.Random, dtype: str) -> Workload:
    gemm = registry.operator("gemm")
    whole = dtype == "int8"
    while True:
        options = {
            "batch": rng.choice([1, 1, 3]), "trans_a": rng.random() < 0.5, "trans_b": rng.random() < 0.5,
            "alpha": rng.choice([1.0, 1.0, -2.0 if whole else -0.5, 3.0]),
            "beta": rng.choice([0.0, 0.0, 1.0, 2.0 if whole else 0.75]),
            "bias": rng.random() < 0.5, "relu": rng.random() < 0.6,
        }  # fmt: skip
        m, n, k = (rng.choice([1, 2, 5, 16, 31, 64, 65, 100, 129]) for _ in range(3))
        try:
            return gemm.workload(dtype, m=m, n=n, k=k, **options)
        except InvalidWorkload:
            continue


DRAW = {"gemm": _gemm, "conv2d": conv2d_cases.draw, "attention": attention_cases.draw}
"""A random workload of each operator: (rng, dtype)."""


def served(kernel: Kernel, target: Target, rng: random.Random, dtype: str) -> Workload:
    """A random workload that the kernel supports."""
    for _ in range(3000):
        workload = DRAW[kernel.operator](rng, dtype)
        if kernel.unsupported(workload, target) is None:
            return workload
    raise AssertionError(f"{kernel.name} supports next to nothing")


def mismatch(artifact: Artifact, workload: Workload, seed: int) -> str | None:
    """What is wrong with the outputs of `special_inputs`, computed by an artifact that is of this workload or
    takes its dimensions as arguments."""
    operator, sizes = registry.operator(workload.operator), dict(workload.dims)
    arguments = tuple(
        replace(a, value=sizes[a.name]) if a.kind == "int64" and a.name in sizes else a
        for a in artifact.arguments
    )
    inputs = operator.special_inputs(workload, seed)
    tensors = {s.name: Guarded(s.shape, s.dtype) for s in operator.signature(workload)}
    for name, values in inputs.items():
        tensors[name].array[...] = values
    outputs = [s.name for s in operator.signature(workload) if s.output]
    for name in outputs:
        tensors[name].poison()
    executable = CpuDevice().load(replace(artifact, arguments=arguments))
    executable.bind({name: tensor.array for name, tensor in tensors.items()})
    with np.errstate(all="ignore"):  # NumPy's kernels compute in this process
        executable.run()
    reference = operator.reference(workload, inputs)
    tolerance = operator.tolerance(workload, inputs, reference)
    computed = {name: np.array(executable.read(name)) for name in outputs}
    return special_mismatch(computed, reference, tolerance)


def mismatches(
    kernel: Kernel, target: Target, dtype: str, builds: int, seed: int, folder: Path
) -> Iterator[str]:
    """What is wrong with random configurations on random workloads and, where they are generic, on
    companions too."""
    rng = random.Random(f"{kernel.name} {dtype} {seed}")
    operator, builder = registry.operator(kernel.operator), registry.builder(kernel.language)
    for i in range(builds):
        workload = served(kernel, target, rng, dtype)
        space = kernel.space(workload, target)
        config = space.default or space.sample(rng)
        (folder / str(i)).mkdir(parents=True)
        artifact = builder.build(kernel.lower(workload, config, target), target, folder / str(i))
        others = operator.companions(workload) if kernel.shape_generic else ()
        for case in (workload, *others):
            if kernel.unsupported(case, target) is None and (wrong := mismatch(artifact, case, i)):
                yield f"{kernel.name} {dict(config)} on {case.key}: {wrong}"
