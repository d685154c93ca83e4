"""Random convolutions, and what it takes to run a kernel on one without the engine."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.kernel import Kernel
from tuner.core.operator import worst_error
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.devices.cpu.device import CpuDevice

CONV = registry.operator("conv2d")


def draw(rng: random.Random, dtype: str = "f32", options: Mapping[str, Option] | None = None) -> Workload:
    """A random valid workload; with `options` they are those, and only the shape is random."""
    while True:
        chosen: dict[str, Option] = dict(options or {})
        if options is None:
            scale = rng.choice(["", "scale_tensor", "scale_channel"]) if dtype == "int8" else ""
            chosen = {
                "stride": rng.choice([1, 1, 2, 3]), "pad": rng.choice([0, 1, 1, 2, 3]),
                "dilation": rng.choice([1, 1, 1, 2]), "groups": rng.choice([1, 1, 1, 2, 3, 8, 17]),
                "nhwc": rng.random() < 0.4, "bias": rng.random() < 0.5, "relu": rng.random() < 0.5,
                **({scale: True} if scale else {}),
            }  # fmt: skip
            if rng.random() < 0.4:
                sides = ("pad_top", "pad_left", "pad_bottom", "pad_right")
                chosen.update(pad=0, **{side: rng.choice([0, 0, 1, 1, 2, 3]) for side in sides})
        groups = int(chosen.get("groups", 1))
        inner, outer = rng.choice([1, 2, 3, 5, 16, 19, 40]), rng.choice([1, 2, 4, 7, 16, 33])
        if groups > 1 and rng.random() < 0.5:  # depthwise
            inner, outer = 1, rng.choice([1, 1, 2])
        r, s = rng.choice([(1, 1), (3, 3), (3, 3), (3, 3), (5, 5), (2, 4), (7, 1), (1, 3)])
        dims = {"n": rng.choice([1, 1, 2, 3]), "c": groups * inner, "h": rng.randint(1, 21),
                "w": rng.randint(1, 40), "k": groups * outer, "r": r, "s": s}  # fmt: skip
        try:
            return CONV.workload(dtype, **dims, **chosen)
        except InvalidWorkload:
            continue


def served(
    kernel: Kernel,
    target: Target,
    rng: random.Random,
    dtype: str,
    options: Mapping[str, Option] | None = None,
) -> Workload:
    """A random workload that the kernel supports."""
    for _ in range(2000):
        workload = draw(rng, dtype, options)
        if kernel.unsupported(workload, target) is None:
            return workload
    raise AssertionError(f"{kernel.name} supports next to nothing")


class Run:
    """One built configuration of a kernel."""

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
        for name, value in inputs.items():
            assert np.array_equal(value, before[name]), f"{self.kernel.name} changed {name}"
        reference = CONV.reference(workload, inputs)
        output = {"Y": executable.read("Y")}
        worst, where = worst_error(output, reference, CONV.tolerance(workload, inputs, reference))
        return worst, f"{self.kernel.name} {dict(self.config)} on {workload.key}: {where}"


def cases(
    kernel: Kernel, target: Target, dtype: str, seed: int, builds: int, shapes: int, folder: Path
) -> Iterator[tuple[float, str]]:
    """Errors of `builds` random configurations, each on its workload and, where it is generic, on others.

    A generic kernel is called on `shapes` random shapes of the same options and on the operator's companions.
    """
    rng = random.Random(f"{kernel.name} {dtype} {seed}")
    for i in range(builds):
        workload = served(kernel, target, rng, dtype)
        space = kernel.space(workload, target)
        config = space.default or space.sample(rng)
        run = Run(kernel, workload, config, target, folder / str(i))
        yield run.error(workload, seed=i)
        if kernel.shape_generic:
            options = dict(workload.options)
            more = [served(kernel, target, rng, dtype, options) for _ in range(shapes)]
            for other in (*more, *CONV.companions(workload)):
                if kernel.unsupported(other, target) is None:
                    yield run.error(other, seed=i)
