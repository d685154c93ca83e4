"""Every registered conv2d kernel computes the definition, whatever the shape, options and configuration."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kernels.conv2d_cases import CONV, cases, served
from tests.kernels.running import Run, has, lacking, with_tiles
from tuner import registry
from tuner.core.activations import BEYOND_RELU
from tuner.devices.cpu.device import CpuDevice, named_targets

HERE = with_tiles(CpuDevice().target)
KERNELS = [(k.name, dtype) for k in registry.kernels_of("conv2d", "cpu") for dtype in k.dtypes]
COMPILED = [(name, dtype) for name, dtype in KERNELS if registry.kernel(name).language == "cxx"]
# What a build costs decides how many there are: C++ half a second, TensorIR three, a library nothing.
QUICK = {"cxx": (2, 6), "tensorir": (2, 0), "python": (40, 0)}
# What lays weights out ahead shares all other code with a kernel that does not.
AHEAD = {"cxx": (1, 3), "python": (40, 0)}


def slow_if_ahead(name: str, *more: str) -> object:
    kernel = registry.kernel(name)
    shares = kernel.only_frozen and kernel.language == "cxx"
    return pytest.param(name, *more, marks=[pytest.mark.slow] if shares else [])


LONG = {"cxx": (60, 20), "tensorir": (60, 0), "python": (600, 0)}


def check(name: str, dtype: str, target, builds: int, shapes: int, seed: int, folder: Path) -> None:
    kernel = registry.kernel(name)
    language = registry.builder_for(kernel.language, kernel.target_kinds[0])
    if reason := kernel.unavailable() or language.unavailable():
        pytest.skip(reason)
    count = 0
    for error, where in cases(kernel, target, dtype, seed, builds, shapes, folder):
        assert error <= 1.0, where
        count += 1
    assert count >= builds


@pytest.mark.parametrize(("name", "dtype"), KERNELS)
def test_computes_random_convolutions(name: str, dtype: str, tmp_path: Path) -> None:
    kernel = registry.kernel(name)
    check(name, dtype, HERE, *(AHEAD if kernel.only_frozen else QUICK)[kernel.language], 0, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "dtype"), KERNELS)
def test_computes_thousands_of_random_convolutions(name: str, dtype: str, tmp_path: Path) -> None:
    check(name, dtype, HERE, *LONG[registry.kernel(name).language], seed=1, folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "dtype"), [slow_if_ahead(*kernel) for kernel in COMPILED if kernel[0] != "conv_naive"]
)
@pytest.mark.sampled(1, each="name")
def test_computes_right_for_another_instruction_set(name: str, dtype: str, tmp_path: Path) -> None:
    """AVX2's code on any machine that has it: registers are narrower and fewer."""
    target = named_targets()["cpu:avx2"]
    if not set(target.features) <= set(HERE.features):
        pytest.skip("this processor has no AVX2")
    check(name, dtype, target, 1 if registry.kernel(name).only_frozen else 3, 4, seed=2, folder=tmp_path)


@pytest.mark.parametrize(("name", "dtype"), [slow_if_ahead(*kernel) for kernel in KERNELS])
@pytest.mark.sampled(1, each="name")
def test_padding_by_side(name: str, dtype: str, tmp_path: Path) -> None:
    """As "same" pads for a stride of 2, even kernels, depthwise ones; one side alone."""
    kernel = registry.kernel(name)
    if reason := kernel.unavailable() or registry.no_builder(kernel, kernel.target_kinds[0]):
        pytest.skip(reason)
    if missing := lacking(kernel, HERE, dtype):
        pytest.skip(f"this processor lacks {min(missing)}")
    shapes = [
        "n2 c5 h12 w14 k9 r3 s3 pad_bottom1 pad_right2 bias",
        "n1 c6 h9 w14 k6 r3 s3 stride2 pad_bottom1 pad_right1 groups6",
        "n1 c6 h10 w12 k7 r2 s4 pad_bottom1 pad_left1 pad_right2 relu",
        "n1 c4 h7 w9 k4 r1 s1 stride2 pad_top1",
        "n1 c4 h6 w11 k20 r1 s5 pad_left4 nhwc",
        "n1 c6 h9 w14 k6 r3 s3 stride2 pad_bottom1 pad_right1 groups6 nhwc",
    ]
    # What is built takes its time.
    twice = dtype == "f32" and not kernel.only_frozen
    most, served = {"python": len(shapes), "cxx": 1 + twice}.get(kernel.language, 1), 0
    for i, shape in enumerate(shapes):
        workload = CONV.parse(shape + " frozen" * kernel.only_frozen, dtype)
        space = None if kernel.unsupported(workload, HERE) else kernel.space(workload, HERE)
        if space is None or served == most:
            continue
        config = space.default or space.sample(random.Random(shape))
        error, where = Run(kernel, workload, config, HERE, tmp_path / str(i)).error(workload, seed=i)
        assert error <= 1.0, where
        served += 1
    if not served and kernel.baseline:
        pytest.skip(f"none of these: {kernel.unsupported(workload, HERE)}")  # a library of int8 results alone
    assert served


@pytest.mark.parametrize("name", ["conv_winograd", "conv_winograd_ahead"])
@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.sampled(1, each="name")
def test_winograd_meets_the_tolerance_of_all(name: str, tile: int, tmp_path: Path) -> None:
    """Where its error is largest: few channels, many outputs."""
    kernel = registry.kernel(name)
    workload = CONV.parse("n1 c32 h64 w64 k64 r3 s3 pad1" + " frozen" * kernel.only_frozen)
    space = kernel.space(workload, HERE)
    config = next(c for c in space if c["TILE"] == tile)
    run = Run(kernel, workload, config, HERE, tmp_path)
    for seed in range(3):
        error, where = run.error(workload, seed)
        assert error <= 0.9, where


@pytest.mark.parametrize("arch", ["here", "cpu:avx2"])
@pytest.mark.parametrize(
    "shape",
    [
        "n1 c5 h7 w7 k5 r3 s3 groups=5 pad=1",
        "n2 c4 h14 w14 k4 r3 s3 groups=4 pad=1 bias relu",
        "n1 c3 h14 w14 k3 r3 s3 groups=3 pad=1 stride=2 relu",
        "n3 c1 h9 w27 k1 r3 s3 groups=1 pad=1 stride=2 bias",
        "n1 c6 h7 w7 k6 r5 s5 groups=6 pad=2",
        "n1 c6 h5 w6 k6 r5 s5 groups=6 pad=2 stride=2",
        "n1 c2 h11 w6 k2 r2 s3 groups=2 pad=1",
        "n1 c4 h8 w6 k4 r3 s3 groups=4 pad=2 dilation=2",
        "n1 c5 h7 w7 k5 r3 s3 groups=5 pad_top=2 pad_right=2",
        "n2 c3 h9 w7 k3 r2 s2 groups=3 pad_left=1 relu",
        "n1 c3 h14 w14 k3 r3 s3 groups=3 stride=2 pad_bottom=1 pad_right=1 bias",
    ],
)
@pytest.mark.sampled(3, each="arch")
def test_depthwise_images_that_are_masked(shape: str, arch: str, tmp_path: Path) -> None:
    """Padding, and the first and last channel, which have no neighbour to read; wider images too."""
    target = HERE if arch == "here" else named_targets()[arch]
    if not set(target.features) <= set(HERE.features):
        pytest.skip("this processor has no AVX2")
    kernel = registry.kernel("conv_depthwise")
    workload = CONV.parse(shape)
    masked = [c for c in kernel.space(workload, target) if c["MASKED"]]
    if not masked:
        assert target.limits["vector_bytes"] < 64
        pytest.skip("its taps are more than a vector away")
    for number, config in enumerate(masked[:: max(1, len(masked) - 1)]):
        run = Run(kernel, workload, config, target, tmp_path / str(number))
        wide = replace(workload, dims=tuple((n, 50 if n == "w" else v) for n, v in workload.dims))
        for case in (workload, wide):
            error, where = run.error(case)
            assert error <= 1.0, where


@pytest.mark.parametrize(
    "shape",
    [
        "n1 c40 h7 w7 k24 r1 s1 bias relu",
        "n2 c24 h7 w7 k20 r3 s3 pad=1 relu",
        "n1 c18 h9 w25 k18 r3 s3 groups=3 pad=1 stride=2 bias",
        "n1 c6 h14 w14 k10 r5 s5 pad=2",
    ],
)
@pytest.mark.sampled(1)
def test_last_pixels_as_dot_products(shape: str, tmp_path: Path) -> None:
    """Alone, and with threads that gather panels together and must not overwrite what is another's."""
    kernel = registry.kernel("conv_implicit_gemm")
    workload = CONV.parse(shape)
    space = [c for c in kernel.space(workload, HERE) if c["DOTS"]]
    chosen = [space[0], space[-1], *[c for c in space if c["SPLIT_K"] > 1][::97][:3]]
    for number, config in enumerate(chosen):
        run = Run(kernel, workload, config, HERE, tmp_path / str(number))
        for seed in range(20):
            error, where = run.error(workload, seed)
            assert error <= 1.0, where


@pytest.mark.parametrize(
    "shape",
    [
        "n1 c40 h7 w7 k24 r1 s1 bias relu residual",
        "n2 c50 h14 w14 k20 r1 s1 residual",
        "n1 c35 h14 w14 k10 r3 s3 pad=1 stride=2 bias",
    ],
)
@pytest.mark.sampled(1)
def test_slices_of_the_depth_and_pixels_left_over(shape: str, tmp_path: Path) -> None:
    """Sums that Y holds meanwhile, in both orders of loops, copied panels or not, and with threads."""
    kernel = registry.kernel("conv_blocked_ahead")
    workload = CONV.parse(f"{shape} frozen")
    space = [c for c in kernel.space(workload, HERE) if 0 < c["KC"] < 256 or c["KC"] == 0]
    chosen = [next(c for c in space if c["ODD"] and c["INNER"] == inner) for inner in "mn"]
    chosen += [next((c for c in space if not c["COPY"] and c["INNER"] == "n"), space[-1])]
    for number, config in enumerate(chosen):
        # Shapes of the random tests have few channels: here a slice is less than all of them.
        run = Run(kernel, workload, {**config, "KC": 16}, HERE, tmp_path / str(number))
        for case in (workload, *CONV.companions(workload)):
            error, where = run.error(case)
            assert error <= 1.0, where


# What a wrong kernel does -> (what of the naive one is replaced, by what).
PLANTED = {
    "leaves out the last channel": ("in < inner;", "in < inner - 1;"),
    "leaves out the last tap": ("j < s; ++j", "j < s - (i == r - 1); ++j"),
    "leaves out one product of one output": (
        "sum += accumulator(a) * accumulator(b);",
        "if (out || p || q || in || i != 1 || j != 1) sum += accumulator(a) * accumulator(b);",
    ),
    "repeats a column where padding is": (
        "if (x < 0 || x >= w) continue;", "if (x < 0) continue; const int64_t e = x < w ? x : w - 1;",
    ),
    "pads with ones": (
        "if (x < 0 || x >= w) continue;",
        "if (x < 0 || x >= w) { sum += accumulator(W[((out * inner + in) * r + i) * s + j]); continue; }",
    ),
    "applies another filter's bias": (
        "epilogue(sum, out, place)", "epilogue(sum, out ? out - 1 : out + 1, place)",
    ),
    "forgets the activation": ("epilogue(sum, out, place)", "result(sum + accumulator(bias[out]))"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["f32", "f16", "int8"])
@pytest.mark.parametrize("name", PLANTED)
def test_a_wrong_kernel_fails(name: str, dtype: str, tmp_path: Path) -> None:
    naive = registry.kernel("conv_naive")
    source = Path(naive.path)
    old, new = PLANTED[name]
    text = source.read_text()
    assert old in text
    text = text.replace(old, new)
    if "const int64_t e" in new:
        text = text.replace("* w + x) * c + channel", "* w + e) * c + channel").replace(
            "* w + x];", "* w + e];"
        )
    folder = tmp_path / "conv2d"
    folder.mkdir()
    (folder / "wrong.cpp").write_text(text)
    for header in naive.source_files()[1:]:
        copy = tmp_path / header.relative_to(source.parents[1])
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(header.read_text())
    kernel = registry.source_kernel(folder / "wrong.cpp")
    workload = CONV.parse("n1 c8 h9 w11 k5 r3 s3 pad1 bias relu", dtype)
    run = Run(kernel, workload, {}, HERE, tmp_path / "build")
    assert max(run.error(workload, seed)[0] for seed in range(4)) > 1.0


@pytest.mark.parametrize("arch", ["cpu:avx2", "cpu:avx512", "cpu:x86_64", "cpu:neon"])
def test_what_a_kernel_supports_has_a_configuration(arch: str) -> None:
    """On any number of cores, too: three threads are as good as four."""
    rng, described = random.Random(arch), named_targets()[arch]
    for kernel in registry.kernels_of("conv2d", "cpu"):
        if not (dtypes := has(kernel, described)):
            continue
        for cores in (1, 2, 3, 8, 12) * 3:
            target = replace(described, limits={**described.limits, "cores": cores})
            workload = served(kernel, target, rng, rng.choice(dtypes))
            assert kernel.space(workload, target).size != 0, f"{kernel.name} on {cores} cores: {workload.key}"


@pytest.mark.parametrize("option", ["residual", *BEYOND_RELU])
def test_every_kernel_of_floats_takes_sums_and_activations(option: str) -> None:
    for kind in ("cpu", "cuda"):
        for kernel in registry.kernels_of("conv2d", kind):
            assert option in kernel.options or set(kernel.dtypes) == {"int8"}, kernel.name


def test_special_kernels_say_what_they_are_for() -> None:
    words = {
        ("conv_winograd", "n1 c8 h9 w9 k8 r5 s5"): "3x3",
        ("conv_winograd", "n1 c8 h9 w9 k8 r3 s3 stride2"): "stride 1",
        ("conv_depthwise", "n1 c8 h9 w9 k8 r3 s3"): "groups = c = k",
        ("conv_implicit_gemm", "n1 c8 h9 w9 k8 r3 s3 nhwc"): "option nhwc",
    }
    for (name, shape), word in words.items():
        assert word in (registry.kernel(name).unsupported(CONV.parse(shape), HERE) or "")
