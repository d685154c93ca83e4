"""Random attentions, and what it takes to run a kernel on one without the engine."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.errors import InvalidWorkload
from tuner.core.guarded import Guarded
from tuner.core.kernel import Kernel
from tuner.core.operator import worst_error
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice

ATTENTION = registry.operator("attention")


def draw(rng: random.Random, dtype: str = "f32", **fixed: object) -> Workload:
    """A random valid workload; `fixed` dimensions and options are as given."""
    while True:
        kv_heads, group = rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2, 4, 5])
        values: dict[str, object] = {
            "b": rng.choice([1, 1, 2, 3]), "h": kv_heads * group,
            "q": rng.choice([1, 1, 2, 7, rng.randint(1, 150)]),
            "kv": rng.choice([1, 16, rng.randint(1, 300)]),
            "d": rng.choice([16, 32, 64, 128, 256, rng.randint(16, 130)]),
            "causal": rng.random() < 0.5, "kv_heads": kv_heads, "paged": rng.random() < 0.4,
            "scale": rng.choice([0.0, 0.0, 0.25, 0.015625]),
        }  # fmt: skip
        if values["paged"]:
            values["page_size"] = rng.choice([1, 7, 16, 16, 64])
        try:
            return ATTENTION.workload(dtype, **{**values, **fixed})
        except InvalidWorkload:
            continue


def sibling(rng: random.Random, workload: Workload) -> Workload:
    """Another shape of the same dtype and options: a shape-generic artifact computes both."""
    options = {**ATTENTION.options, **dict(workload.options)}
    heads = int(options["kv_heads"])
    while True:
        found = draw(rng, workload.dtype, **options, h=(heads or 1) * rng.choice([1, 2, 3]))
        if found.options == workload.options:
            return found


def build(kernel: Kernel, workload: Workload, config: Config, target: Target, folder: Path) -> Artifact:
    """One configuration as an artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    return registry.builder(kernel.language).build(kernel.lower(workload, config, target), target, folder)


def error(artifact: Artifact, workload: Workload, seed: int = 0) -> tuple[float, str]:
    """`worst_error` of two calls on poisoned, guarded tensors; nothing else may change.

    The artifact may have been built for another workload of the same dtype and options, where it takes
    its dimensions as arguments.
    """
    sizes = dict(workload.dims)
    arguments = tuple(
        replace(a, value=sizes[a.name]) if a.kind == "int64" and a.name in sizes else a
        for a in artifact.arguments
    )
    inputs = ATTENTION.inputs(workload, seed)
    tensors = {s.name: Guarded(s.shape, s.dtype) for s in ATTENTION.signature(workload)}
    for name, values in inputs.items():
        tensors[name].array[...] = values
    tensors["O"].poison()
    executable = CpuDevice().load(replace(artifact, arguments=arguments))
    executable.bind({name: tensor.array for name, tensor in tensors.items()})
    executable.run()
    executable.run()  # a second call must not build on the first one's output
    for name, tensor in tensors.items():
        assert tensor.damage() is None, f"{workload.key}: {name}: {tensor.damage()}"
        if name in inputs:
            assert np.array_equal(tensor.array, inputs[name]), f"{workload.key}: {name} changed"
    reference = ATTENTION.reference(workload, inputs)
    output = {"O": executable.read("O")}
    worst, where = worst_error(output, reference, ATTENTION.tolerance(workload, inputs, reference))
    return worst, f"{workload.key}: {where}"
