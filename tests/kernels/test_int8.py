"""int8 kernels are exact on every path that a processor offers, also where sums are the largest."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.draws import served
from tests.kernels.running import Run, with_tiles
from tuner import registry
from tuner.core.default_config import default_config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice, named_targets

HERE = with_tiles(CpuDevice().target)
KERNELS = ("cpp_packed", "cpp_ahead", "conv_int8", "conv_int8_ahead")
# VNNI in registers of both widths, and what there is without it.
PATHS = ("avx512+avx512vnni", "avx2+avxvnni", "avx512", "avx2", "x86_64")
QUICK = {("cpp_packed", "avx2+avxvnni"), ("conv_int8", "avx2+avxvnni"), ("conv_int8", "avx2")}
# With tile registers, or permutations of bytes: those of this machine, where it has them.
OF_SOME = (
    "conv_amx_ahead", "conv_amx_planes", "conv_depthwise_int8", "conv_depthwise_int8_nhwc",
    "conv_int8_planes",
)  # fmt: skip


def path(text: str) -> Target:
    """A named target with more features, of two cores."""
    base, *more = text.split("+")
    named = named_targets()[f"cpu:{base}"]
    features = tuple(sorted({*named.features, *more}))
    if not set(features) <= set(HERE.features):
        pytest.skip(f"this processor lacks some of {text}")
    return replace(named, features=features, limits={**named.limits, "cores": 2})


def built(name: str, target: Target, seed: int, folder: Path) -> Run:
    """A random configuration on a random workload of int8 results that has one."""
    kernel, rng = registry.kernel(name), random.Random(f"{name} {seed}")
    while True:
        workload = served(kernel, target, rng, "int8")
        scaled = any(option.startswith("scale") for option, _ in workload.options)
        space = kernel.space(workload, target)
        if space.size and (scaled or seed % 4 == 3):
            return Run(kernel, workload, space.sample(rng), target, folder)


def check(run: Run, seed: int) -> None:
    for workload in (run.workload, *registry.operator(run.kernel.operator).companions(run.workload)):
        if run.kernel.unsupported(workload, run.target):
            continue
        error, where = run.error(workload, seed)
        assert error <= 1, where
        assert run.mismatch(workload, seed) is None, workload.key


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow])
        for case in itertools.product(KERNELS, PATHS)
    ],
)
def test_random_options_on_every_path(name: str, text: str, tmp_path: Path) -> None:
    target = path(text)
    for seed in range(1 if (name, text) in QUICK else 6):
        check(built(name, target, seed, tmp_path / str(seed)), seed)


def test_a_quantized_library_call_is_exact_too(tmp_path: Path) -> None:
    """QLinearMatMul and QGemm: zero points, scales by column, batches."""
    kernel, rng = registry.kernel("onnxruntime_quantized"), random.Random(8)
    if reason := kernel.unavailable():
        pytest.skip(reason)
    for seed in range(25):
        run = Run(kernel, served(kernel, HERE, rng, "int8"), {}, HERE, tmp_path / str(seed))
        error, where = run.error(run.workload, seed)
        assert error <= 1, where


@pytest.mark.parametrize("seeds", [(0,), pytest.param(range(1, 12), marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", OF_SOME)
def test_random_options_of_what_few_processors_have(name: str, seeds: Sequence[int], tmp_path: Path) -> None:
    for seed in seeds:
        check(built(name, HERE, seed, tmp_path / str(seed)), seed)


def filled(workload: Workload, first: int, second: int) -> dict[str, np.ndarray]:
    """Operands of one value each."""
    inputs = registry.operator(workload.operator).inputs(workload, 1)
    for name, value in zip(list(inputs)[:2], (first, second), strict=True):
        inputs[name] = np.full_like(inputs[name], value)
    return inputs


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cpp_packed", "m7 n21 k131000 bias"),
        ("conv_int8", "n1 c3600 h6 w6 k5 r6 s6 pad2 bias scale_channel zero_points"),
        ("conv_amx_ahead", "n1 c1500 h5 w4 k33 r3 s3 pad2 bias scale_channel zero_points frozen"),
        ("conv_amx_planes", "n1 c1500 h5 w4 k33 r3 s3 pad2 bias scale_channel zero_points frozen"),
        ("conv_int8_planes", "n1 c1500 h5 w4 k33 r3 s3 pad2 bias scale_channel zero_points frozen"),
        # Shifted when it is read, not when it is copied.
        ("conv_int8", "n1 c3600 h9 w9 k40 r6 s6 bias scale_channel zero_points nhwc"),
        (
            "conv_depthwise_int8_nhwc",
            "n1 c70 h9 w9 k70 r5 s5 pad2 groups70 relu scale_tensor zero_points nhwc",
        ),
        ("conv_depthwise_int8", "n1 c18 h9 w9 k18 r5 s5 pad2 groups18 relu scale_tensor zero_points"),
        ("conv_int8", "n1 c18 h9 w9 k18 r5 s5 pad2 groups18 relu scale_tensor zero_points nhwc"),
    ],
)
def test_the_largest_sums_there_are(name: str, shape: str, tmp_path: Path) -> None:
    """The products of the ends of int8, which an operand shifted by 128 takes past 2^31."""
    kernel = registry.kernel(name)
    operator = registry.operator(kernel.operator)
    workload = operator.parse(shape, "int8")
    target = HERE.with_limits(cores=1)
    if reason := kernel.unsupported(workload, target):
        pytest.skip(reason)
    run = Run(kernel, workload, kernel.space(workload, target).sample(random.Random(3)), target, tmp_path)
    for first, second in itertools.product((-128, 127), repeat=2):
        inputs = filled(workload, first, second)
        for output, values in operator.reference(workload, inputs).items():
            np.testing.assert_array_equal(run.computed(workload, inputs)[output], values)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        # Rows longer than a register, of several registers of results.
        ("conv_depthwise_int8", "n1 c3 h5 w150 k3 r3 s3 pad1 groups3 bias scale_channel zero_points"),
        # Several rows of results in one register, the last of them no whole one.
        pytest.param(
            "conv_depthwise_int8",
            "n2 c20 h14 w14 k20 r3 s3 pad1 stride2 groups20 relu scale_channel",
            marks=pytest.mark.slow,
        ),
        # More than 64 channels, of each extreme of the tile; a kernel of no code of its own.
        (
            "conv_depthwise_int8_nhwc",
            "n1 c70 h5 w15 k70 r3 s3 pad1 groups70 bias scale_channel zero_points nhwc",
        ),
        pytest.param(
            "conv_depthwise_int8_nhwc",
            "n2 c130 h9 w7 k130 r2 s7 pad2 stride2 groups130 relu nhwc",
            marks=pytest.mark.slow,
        ),
        ("conv_int8_planes", "n2 c70 h6 w3 k37 r3 s3 pad1 bias relu scale_channel zero_points frozen"),
        # The residual of these pixels; of more channels than a tile has, and of fewer.
        (
            "conv_int8_planes",
            "n2 c70 h6 w3 k37 r3 s3 pad1 bias relu scale_channel zero_points quantized_residual frozen",
        ),
        ("conv_int8", "n2 c9 h6 w11 k70 r1 s1 nhwc bias relu scale_tensor zero_points quantized_residual"),
        ("conv_int8_ahead", "n1 c9 h6 w11 k33 r3 s3 scale_channel quantized_residual frozen"),
        (
            "conv_amx_planes",
            "n2 c70 h6 w3 k37 r3 s3 pad1 relu scale_channel zero_points quantized_residual frozen",
        ),
        ("conv_amx_ahead", "n2 c9 h6 w11 k37 r1 s1 nhwc relu scale_tensor quantized_residual frozen"),
        ("conv_int8_planes", "n1 c9 h23 w45 k20 r3 s3 pad1 stride2 bias scale_tensor zero_points frozen"),
        # Pixels that no result belongs to, several times in a register; every second pixel; point by point.
        ("conv_amx_planes", "n2 c70 h6 w3 k37 r3 s3 pad1 bias relu scale_channel zero_points frozen"),
        ("conv_amx_planes", "n1 c9 h23 w45 k20 r3 s3 pad1 stride2 bias scale_tensor zero_points frozen"),
        pytest.param(
            "conv_amx_planes",
            "n1 c136 h15 w15 k34 r1 s1 groups2 stride2 scale_channel frozen",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_rows_that_do_not_fit_a_register(name: str, shape: str, tmp_path: Path) -> None:
    kernel, target = registry.kernel(name), HERE.with_limits(cores=2)
    workload = registry.operator(kernel.operator).parse(shape, "int8")
    if reason := kernel.unsupported(workload, target):
        pytest.skip(reason)
    config = kernel.space(workload, target).sample(random.Random(1))
    check(Run(kernel, workload, config, target, tmp_path), 1)


@pytest.mark.parametrize(
    ("name", "shape", "config"),
    [
        # Tiles of several images, a last one of few pixels; groups; channels that fill no unit.
        ("conv_int8_planes", "n3 c18 h5 w7 k22 r1 s1 groups2 bias scale_channel frozen", {"VECTORS": 2}),
        ("conv_amx_planes", "n3 c140 h5 w7 k22 r1 s1 groups2 bias relu scale_tensor frozen", {"ACROSS": 2}),
        # A block over the end of an image; the last pixel ends within a unit; fewer pixels than a tile's.
        ("conv_int8", "n3 c6 h5 w7 k21 r1 s1 nhwc bias scale_channel zero_points", {"BLOCK": 4, "PIXELS": 6}),
        ("conv_int8_ahead", "n2 c16 h1 w5 k70 r1 s1 groups2 nhwc frozen", {"BLOCK": 8, "PIXELS": 5}),
    ],
)
def test_pixels_of_1x1_kernels_are_brought_as_they_are_needed(
    name: str, shape: str, config: dict[str, int], tmp_path: Path
) -> None:
    kernel, target = registry.kernel(name), HERE.with_limits(cores=2)
    workload = registry.operator("conv2d").parse(shape, "int8")
    if reason := kernel.unsupported(workload, target):
        pytest.skip(reason)
    space = kernel.space(workload, target)
    wanted = {"threads": 2, "COPY": "tiles", "SHIFT": "block", **config}
    chosen = space.check(default_config(space) | {k: v for k, v in wanted.items() if k in space.names})
    check(Run(kernel, workload, chosen, target, tmp_path), 1)


LAYOUTS = (
    # In place, a row of taps and one tap; a copy because the last pixel ends within a unit; three channels.
    "n1 c16 h7 w9 k35 r3 s3 nhwc bias scale_channel zero_points",
    "n2 c8 h5 w6 k20 r1 s1 stride2 nhwc relu",
    "n1 c7 h6 w6 k33 r3 s3 nhwc scale_tensor",
    "n2 c3 h19 w23 k20 r7 s7 pad3 stride2 nhwc scale_channel zero_points",
    "n2 c3 h19 w43 k20 r7 s7 pad3 stride2 bias scale_channel zero_points",
    "n1 c12 h6 w9 k8 r3 s3 groups2 dilation2 nhwc",
    # Weights of more taps than a vector, of channels that do not fill the last unit.
    "n1 c22 h9 w20 k20 r9 s9 pad4 scale_tensor",
)


@pytest.mark.parametrize(
    "shape", [LAYOUTS[0], *(pytest.param(shape, marks=pytest.mark.slow) for shape in LAYOUTS[1:])]
)
@pytest.mark.parametrize("name", ["conv_int8", "conv_int8_ahead"])
def test_every_way_to_lay_units_out(name: str, shape: str, tmp_path: Path) -> None:
    kernel, target = registry.kernel(name), HERE.with_limits(cores=2)
    workload = registry.operator("conv2d").parse(shape + (" frozen" if "ahead" in name else ""), "int8")
    check(Run(kernel, workload, kernel.space(workload, target).sample(random.Random(2)), target, tmp_path), 1)
