"""Random convolutions, and a kernel on some of them."""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.kernels.running import Run, lacking
from tuner import registry
from tuner.core.activations import BEYOND_RELU
from tuner.core.errors import InvalidWorkload
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.core.workload import Option, Workload

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
                "nhwc": rng.random() < 0.4, "bias": rng.random() < 0.5, "frozen": rng.random() < 0.3,
                **({scale: True, "zero_points": rng.random() < 0.5} if scale else {}),
            }  # fmt: skip
            chosen |= {"quantized_residual": True} if scale and rng.random() < 0.4 else {}
            if dtype == "int8":
                chosen["relu"] = rng.random() < 0.5
            else:
                chosen["residual"] = rng.random() < 0.4
                chosen |= {name: True for name in (rng.choice(("", "relu", *BEYOND_RELU)),) if name}
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
    """A random workload that the kernel supports; a skip where the target lacks what that requires."""
    if "cpu" in kernel.target_kinds and (missing := lacking(kernel, target, dtype)):
        pytest.skip(f"{target.name} lacks {min(missing)}")
    for _ in range(2000):
        workload = draw(rng, dtype, options)
        if kernel.unsupported(workload, target) is None:
            return workload
    raise AssertionError(f"{kernel.name} supports next to nothing")


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
