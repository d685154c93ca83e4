"""Random convolutions, and what it takes to run a kernel on one without the engine."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.kernel import Kernel
from tuner.core.operator import worst_error
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.cpu import CpuDevice

CONV = registry.operator("conv2d")


def draw(rng: random.Random, dtype: str = "f32", **fixed: object) -> Workload:
    """A random valid workload; `fixed` dimensions and options are as given."""
    while True:
        groups = rng.choice([1, 1, 1, 2, 3, 8])
        inner, outer = rng.choice([1, 2, 3, 5, 16, 19]), rng.choice([1, 2, 4, 7, 16, 33])
        if rng.random() < 0.25:  # depthwise
            groups, inner, outer = rng.choice([1, 5, 16, 35]), 1, rng.choice([1, 1, 2])
        taps = rng.choice([(1, 1), (3, 3), (3, 3), (5, 5), (2, 4), (7, 1), (1, 3)])
        scale = rng.choice(["", "scale_tensor", "scale_channel"]) if dtype == "int8" else ""
        values: dict[str, object] = {
            "n": rng.choice([1, 1, 2, 3]), "c": groups * inner, "k": groups * outer,
            "h": rng.randint(1, 21), "w": rng.randint(1, 40), "r": taps[0], "s": taps[1],
            "stride": rng.choice([1, 1, 2, 3]), "pad": rng.choice([0, 1, 1, 2, 3]),
            "dilation": rng.choice([1, 1, 1, 2]), "groups": groups, "nhwc": rng.random() < 0.4,
            "bias": rng.random() < 0.5, "relu": rng.random() < 0.5,
        }  # fmt: skip
        values.update({scale: True} if scale else {}, **fixed)
        try:
            return CONV.workload(dtype, **values)
        except InvalidWorkload:
            continue


class Run:
    """One built configuration of a kernel, called on any number of workloads it was built for."""

    def __init__(
        self, kernel: Kernel, workload: Workload, config: Config, target: Target, folder: Path
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        source = kernel.lower(workload, config, target)
        self.kernel, self.config = kernel, config
        self.artifact = registry.builder(kernel.language).build(source, target, folder)

    def error(self, workload: Workload, seed: int = 0) -> tuple[float, str]:
        """`worst_error` of two calls on poisoned outputs; the inputs must not change."""
        sizes = dict(workload.dims)
        arguments = tuple(
            replace(a, value=sizes[a.name]) if a.kind == "int64" and a.name in sizes else a
            for a in self.artifact.arguments
        )
        inputs = CONV.inputs(workload, seed)
        before = {name: value.copy() for name, value in inputs.items()}
        spec = next(s for s in CONV.signature(workload) if s.output)
        y = np.full(spec.shape, np.nan if "float" in spec.dtype else -77, spec.dtype)
        executable = CpuDevice().load(replace(self.artifact, arguments=arguments))
        executable.bind({**inputs, "Y": y})
        executable.run()
        executable.run()  # a second call must not build on the first one's output
        reference = CONV.reference(workload, inputs)
        for name, value in inputs.items():
            assert np.array_equal(value, before[name]), f"{self.kernel.name} changed {name}"
        output = {"Y": executable.read("Y")}
        worst, where = worst_error(output, reference, CONV.tolerance(workload, inputs, reference))
        return worst, f"{self.kernel.name} {dict(self.config)} on {workload.key}: {where}"
