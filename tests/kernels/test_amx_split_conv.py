"""f32 convolutions from bf16 tiles: as right as f32, also where numbers have no parts."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.draws import served
from tests.kernels.running import Run, with_tiles
from tests.kernels.test_amx_split import wide
from tuner import registry
from tuner.core.tensors import Tensors
from tuner.devices.cpu.device import CpuDevice

HERE = with_tiles(CpuDevice().target).with_limits(cores=2)
KERNELS = ("conv_amx_split", "conv_amx_split_ahead")
CONV = registry.operator("conv2d")
LEAST = {
    "DOWN": 1, "ACROSS": 1, "SLAB": 1, "BETWEEN": False, "FETCH_W": False, "WINDOWS": False, "SPLIT_K": 1,
    "PACK_W": "whole", "threads": 1,
}  # fmt: skip
LARGE = {**LEAST, "DOWN": 2, "ACROSS": 2}


def built(name: str, shape: str, config: dict[str, object], folder: Path) -> Run:
    """The kernel with just these parameters, as for a processor with cores enough."""
    kernel, workload = registry.kernel(name), CONV.parse(shape, "f32")
    target = HERE.with_limits(cores=max(2, int(str(config["threads"]))))
    if reason := kernel.unsupported(workload, target):
        pytest.skip(reason)
    space = kernel.space(workload, target)
    return Run(kernel, workload, space.check({k: config[k] for k in space.names}), target, folder)


def check(name: str, seed: int, folder: Path) -> None:
    """A random configuration on a random workload and its ragged companions, with special values too."""
    kernel, rng = registry.kernel(name), random.Random(f"{name} {seed}")
    workload = served(kernel, HERE, rng, "f32")
    run = Run(kernel, workload, kernel.space(workload, HERE).sample(rng), HERE, folder)
    for at in (workload, *CONV.companions(workload)):
        if kernel.unsupported(at, HERE) is None:
            error, where = run.error(at, seed)
            assert error <= 1, where
            assert run.mismatch(at, seed) is None, (at.key, run.config)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    "seeds", [(0,), pytest.param(range(1, 30), marks=pytest.mark.slow)], ids=("one", "many")
)
def test_is_right_with_random_options(name: str, seeds: Sequence[int], tmp_path: Path) -> None:
    for seed in seeds:
        check(name, seed, tmp_path / str(seed))


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        # Slabs of several lines and over the end of an image.
        ("n3 c40 h9 w21 k40 r3 s3 pad1 bias relu", {"SLAB": 4, "BETWEEN": True, "threads": 2, "SPLIT_K": 2}),
        # What one thread splits ends within a vector of what the next one does.
        ("n1 c30 h14 w21 k96 r3 s3 pad1", {"SLAB": 16, "threads": 3, "SPLIT_K": 3}),
        # Nobody splits the next slab where others still multiply.
        ("n1 c40 h9 w40 k80 r3 s3 pad1", {"SLAB": 2, "threads": 3, "SPLIT_K": 3}),
        ("n2 c33 h12 w19 k70 r3 s2 pad2 stride2 nhwc bias residual silu", {"SLAB": 2, "BETWEEN": True}),
        ("n2 c70 h7 w7 k40 r1 s1 stride2 residual", {"ACROSS": 1, "PACK_W": "blocks", "threads": 2}),
        ("n1 c3 h23 w41 k48 r7 s7 pad3 stride2 relu", {"SLAB": 4, "WINDOWS": True, "FETCH_W": True}),
        ("n1 c3 h23 w41 k17 r7 s7 pad3 stride3", {"SLAB": 1, "WINDOWS": True}),
        ("n1 c5 h17 w20 k17 r5 s3 pad2 nhwc hardswish", {"SLAB": 4, "WINDOWS": True}),
        ("n1 c12 h17 w20 k34 r3 s3 groups2 dilation2 nhwc", {"SLAB": 4, "WINDOWS": True, "DOWN": 1}),
        ("n1 c80 h14 w20 k70 r3 s3 groups2 stride3 pad_left1 pad_bottom2", {"SLAB": 2, "PACK_W": "blocks"}),
    ],
)  # fmt: skip
def test_each_way_through_an_image_is_right(shape: str, changes: dict[str, object], tmp_path: Path) -> None:
    run = built("conv_amx_split", shape, {**LARGE, **changes}, tmp_path)
    error, where = run.error(run.workload)
    assert error <= 1, where
    assert run.mismatch(run.workload, 1) is None


@pytest.fixture(scope="module", params=["", " nhwc"], ids=("planes", "nhwc"))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of each of two threads three slabs, and two panels of filters."""
    config = {**LARGE, "SLAB": 2, "BETWEEN": True, "FETCH_W": True, "threads": 2}
    folder = tmp_path_factory.mktemp("split")
    return built("conv_amx_split", f"n1 c70 h14 w18 k40 r3 s3 pad1{request.param}", config, folder)


def drawn(run: Run, ranges: str) -> Tensors:
    """Inputs of both signs from 2^-40 to 2^40, or of one size and sign, whose sums grow."""
    rng = np.random.default_rng(5)
    inputs = CONV.inputs(run.workload, 5)
    for name, array in inputs.items():
        inputs[name] = (
            wide(rng, array.shape) if ranges == "wide" else rng.uniform(0.5, 1, array.shape).astype("f4")
        )
    return inputs


@pytest.mark.parametrize("ranges", ["near", "wide"])
def test_errs_as_f32_does(run: Run, ranges: str) -> None:
    """Of the sum of magnitudes a share below 2^-22; one bf16 product errs by 2^-9 of it."""
    inputs = drawn(run, ranges)
    y = run.computed(run.workload, inputs)["Y"]
    exact = CONV.reference(run.workload, inputs)["Y"]
    size = CONV.reference(run.workload, {name: np.abs(array) for name, array in inputs.items()})["Y"]
    assert np.max(np.abs(y - exact) / size) < 2.0**-19
    assert np.mean(np.abs(y - exact) / size) < 2.0**-22


def test_what_cancels_leaves_what_f32_leaves(run: Run) -> None:
    """The second half of the channels takes away what the first adds up, but for its last bits."""
    inputs = CONV.inputs(run.workload, 7)
    x, w = ((a.transpose(0, 3, 1, 2) if "nhwc" in run.workload.key else a) for a in inputs.values())
    x[:, 35:], w[:, 35:] = x[:, :35] * np.float32(1 + 2.0**-20), -w[:, :35]
    y = run.computed(run.workload, inputs)["Y"]
    exact = CONV.reference(run.workload, inputs)["Y"]
    size = CONV.reference(run.workload, {name: np.abs(array) for name, array in inputs.items()})["Y"]
    assert np.max(np.abs(exact) / size) < 2.0**-19
    assert np.max(np.abs(y - exact) / size) < 2.0**-20


def test_what_has_no_parts_is_computed_as_ever(run: Run) -> None:
    """The largest float is rounded to an infinite bf16, an infinity leaves NaN: neither may be seen in Y."""
    inputs = CONV.inputs(run.workload, 6)
    x, w = ((a.transpose(0, 3, 1, 2) if "nhwc" in run.workload.key else a) for a in inputs.values())
    x[0, 3, 0, 0], x[0, 69, 13, 17], x[0, 40, 7, 9] = np.inf, np.nan, np.finfo(np.float32).max
    x[0, 1, 2, 3] = np.finfo(np.float32).tiny / 4
    w[17, 33, 1, 1], w[39, 69, 1, 1] = -np.inf, np.nan
    y = run.computed(run.workload, inputs)["Y"]
    exact = CONV.reference(run.workload, inputs)["Y"]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))
    infinite = np.isinf(exact)
    np.testing.assert_array_equal(y[infinite], exact[infinite])
    finite = np.isfinite(exact)
    assert infinite.any() and finite.mean() > 0.5
    np.testing.assert_allclose(y[finite], exact[finite], rtol=1e-5, atol=1e-4)


def test_weights_laid_out_anew_forget_those_before(tmp_path: Path) -> None:
    """An infinity in a filter, and none in the next weights."""
    run = built("conv_amx_split_ahead", "n1 c40 h9 w9 k40 r3 s3 pad1 frozen", {**LARGE, "SLAB": 1}, tmp_path)
    inputs = CONV.inputs(run.workload, 1)
    changed = {**inputs, "W": inputs["W"].copy()}
    changed["W"][20, 3, 1, 1] = np.inf
    for tensors in (changed, inputs):
        np.testing.assert_array_equal(
            np.isfinite(run.computed(run.workload, tensors)["Y"]),
            np.isfinite(CONV.reference(run.workload, tensors)["Y"]),
        )
