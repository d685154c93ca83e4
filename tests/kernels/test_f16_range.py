"""The ends of f16's range: sums above 65504 are infinities, denormals stay, in every C++ kernel."""

import random
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.running import Run, lacking, with_tiles
from tuner import registry
from tuner.core.kernel import Kernel
from tuner.core.tensors import Tensors
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice, named_targets

OWN = with_tiles(CpuDevice().target)
KERNELS = [
    pytest.param(kernel, id=kernel.name)
    for name in ("gemm", "conv2d")
    for kernel in registry.kernels_of(name, "cpu")
    if kernel.language == "cxx" and "f16" in kernel.dtypes
]
# 22 columns and 11 filters are no whole vectors.
SHAPES = {
    "gemm": ["m6 n22 k144"],
    "conv2d": [
        "n2 c16 h9 w11 k11 r3 s3",
        "n2 c11 h9 w11 k11 r3 s3 groups11",
        "n2 c16 h9 w11 k11 r3 s3 nhwc",
        "n2 c11 h9 w11 k11 r3 s3 groups11 nhwc",
    ],
}
# By filter: 29 is over the top, 28 makes 64512; the smallest denormal makes one of 2.25 times itself.
WEIGHTS = (29.0, 28.0, -29.0, 2.0**-24, -28.0)


def planned(workload: Workload) -> tuple[Tensors, np.ndarray]:
    """Inputs, the second half of which are 1/1024 of the first, and what comes out in f16.

    Sums lie so far from where f16 rounds up or down that f32's errors, Winograd's too, do not matter.
    """
    operator = registry.operator(workload.operator)
    inputs = operator.inputs(workload, 0)
    image, weights = (inputs["A"], inputs["B"].T) if "B" in inputs else (inputs["X"], inputs["W"])
    filters = weights.shape[0]
    image[...] = 16 * 144 * filters / weights.size
    image[len(image) // 2 :] /= 1024
    by_filter = np.resize(np.array(WEIGHTS, weights.dtype), filters)
    weights[...] = by_filter.reshape(-1, *[1] * (weights.ndim - 1))
    with np.errstate(over="ignore"):
        wanted = operator.reference(workload, inputs)["D" if "B" in inputs else "Y"].astype(np.float16)
    assert {np.inf, -np.inf, 64512.0, 2.0**-23} <= set(wanted.ravel().tolist())
    return inputs, wanted


@pytest.mark.parametrize(
    "arch",
    ["own", *(pytest.param(f"cpu:{name}", marks=pytest.mark.slow) for name in ("avx2", "x86_64"))],
)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.sampled(1, each="kernel")
def test_above_the_range_is_infinity_and_below_it_is_denormal(
    kernel: Kernel, arch: str, tmp_path: Path
) -> None:
    target = OWN if arch == "own" else named_targets()[arch]
    if missing := lacking(kernel, target, "f16") or set(target.features) - set(OWN.features):
        pytest.skip(f"no {min(missing)} here")
    operator, ahead = registry.operator(kernel.operator), " frozen" * kernel.only_frozen
    asked = [operator.parse(shape + ahead, "f16") for shape in SHAPES[kernel.operator]]
    workload = next(each for each in asked if kernel.unsupported(each, target) is None)
    inputs, wanted = planned(workload)
    space, rng = kernel.space(workload, target), random.Random(f"{kernel.name} {arch}")
    for number in range(3):
        run = Run(kernel, workload, space.sample(rng), target, tmp_path / str(number))
        (found,) = run.computed(workload, inputs).values()
        np.testing.assert_array_equal(found, wanted, f"{kernel.name} {dict(run.config)} on {workload.key}")
