"""Every attention kernel and library is right on random shapes, masks, heads, dtypes and pages."""

import random
from pathlib import Path

import pytest

from tests.kernels.attention_cases import ATTENTION, draw, sibling
from tests.kernels.running import Run, has, with_tiles
from tuner import registry
from tuner.core.kernel import Kernel
from tuner.devices.cpu.device import CpuDevice, named_targets

TARGET = with_tiles(CpuDevice().target)
KERNELS = registry.kernels_of("attention", "cpu")
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


def run(kernel: Kernel, builds: int, shapes: int, seed: int, folder: Path) -> None:
    """`builds` random configurations for random workloads, each on `shapes` shapes where it takes them."""
    if reason := kernel.unavailable():
        pytest.skip(reason)
    if not (dtypes := has(kernel, TARGET)):
        pytest.skip("this processor lacks what it requires")
    rng = random.Random(seed)
    done = 0
    while done < builds:
        workload = draw(rng, rng.choice(dtypes))
        if kernel.unsupported(workload, TARGET):
            continue
        space = kernel.space(workload, TARGET)
        config = space.default or space.sample(rng)
        built = Run(kernel, workload, config, TARGET, folder / str(done))
        others = [sibling(rng, workload) for _ in range(shapes - 1 if kernel.shape_generic else 0)]
        for seed, case in enumerate([workload, *others], done):
            worst, where = built.error(case, seed)
            assert worst <= 1, where
        done += 1


@each_kernel
def test_agrees_with_the_reference(kernel: Kernel, tmp_path: Path) -> None:
    run(kernel, 40 if kernel.baseline else 2, 20, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_kernel
def test_agrees_with_the_reference_thousands_of_times(kernel: Kernel, tmp_path: Path) -> None:
    run(kernel, 1000 if kernel.baseline else 120, 20, 2, tmp_path)


# The flash kernel's paths, each by a configuration, the workload it is built for and others it is run on.
SCORES = {"QUERIES": 16, "KEYS": 8, "ROWS": 4, "COLUMNS": 32, "UNROLL": 2, "BLOCK_Q": 32, "BLOCK_KV": 32}
REST = {"COPY_KV": False, "DECODE_ROWS": 4, "DECODE_KEYS": 4, "PREFETCH": 0, "SPLIT_KV": 1, "threads": 2}


@pytest.mark.parametrize(
    ("arch", "shapes", "changes"),
    [
        ("avx2", ["1x2x70x131x40", "1x1x5x3x16", "2x3x33x64x256"], {}),
        ("avx512", ["1x2x70x131x40", "1x1x33x1000x64"], {"SPLIT_KV": 4}),
        ("avx2", ["b1 h2 q70 kv131 d40 causal", "b1 h1 q200 kv200 d64 causal"], {"SPLIT_KV": 8}),
        ("avx512", ["b1 h2 q1 kv1000 d72", "b2 h1 q3 kv777 d128"], {"SPLIT_KV": 8, "PREFETCH": 16}),
        ("avx2", ["b1 h8 q1 kv500 d64 kv_heads2 paged page_size7"], {"SPLIT_KV": 2, "DECODE_ROWS": 8}),
        ("avx512", ["b1 h8 q9 kv50 d80 kv_heads2 paged page_size7 causal"], {"COPY_KV": True}),
    ],
    ids=lambda value: (
        " ".join(f"{k}{v}" for k, v in value.items())
        if isinstance(value, dict)
        else value
        if isinstance(value, str)
        else value[0]
    ),
)
@pytest.mark.sampled(3)
def test_every_path_on_every_instruction_set(
    arch: str, shapes: list[str], changes: dict[str, object], tmp_path: Path
) -> None:
    target = named_targets()[f"cpu:{arch}"]
    if not set(target.features) <= set(TARGET.features):
        pytest.skip(f"this machine has no {arch}")
    kernel = registry.kernel("attn_flash")
    config = {**SCORES, **REST, **changes}
    workloads = [ATTENTION.parse(shape) for shape in shapes]
    built = Run(kernel, workloads[0], config, target, tmp_path)
    for workload in workloads:
        assert workload.options == workloads[0].options
        for seed in range(3):
            worst, where = built.error(workload, seed)
            assert worst <= 1, where


@pytest.mark.parametrize(
    ("shapes", "changes"),
    [
        (["1x2x70x131x40", "1x1x5x3x17", "2x3x33x64x256"], {"KEYS": 12, "QUERIES": 32}),
        (["b1 h2 q70 kv131 d41 causal", "b1 h1 q200 kv200 d64 causal"], {"SPLIT_KV": 8}),
        (["b1 h8 q9 kv50 d80 kv_heads2 paged page_size7 causal"], {"COPY_KV": True, "COLUMNS": 16}),
        (["b1 h2 q1 kv1001 d72", "b2 h1 q3 kv777 d128", "b1 h1 q1 kv1 d16"], {"SPLIT_KV": 8, "PREFETCH": 16}),
        (["b1 h1 q4 kv151 d67 causal", "b1 h2 q3 kv64 d256 causal"], {"SPLIT_KV": 2}),
        (["b1 h8 q1 kv501 d48 kv_heads2 paged page_size7"], {"DECODE_ROWS": 8}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_words_of_bf16_on_every_path(shapes: list[str], changes: dict[str, object], tmp_path: Path) -> None:
    """Odd d and odd numbers of keys end with half a word; so do the keys that a row of a mask sees."""
    if "avx512bf16" not in TARGET.features:
        pytest.skip("this processor has no instruction for words of bf16")
    kernel = registry.kernel("attn_flash")
    workloads = [ATTENTION.parse(shape, "bf16") for shape in shapes]
    built = Run(kernel, workloads[0], {**SCORES, **REST, **changes}, TARGET, tmp_path)
    for workload in workloads:
        for seed in range(3):
            worst, where = built.error(workload, seed)
            assert worst <= 1, where
            assert (wrong := built.mismatch(workload, seed)) is None, f"{workload.key}: {wrong}"


@pytest.mark.parametrize("arch", ["x86_64", "avx2", "avx512"])
@pytest.mark.parametrize("shape", ["1x12x512x512x64", "1x32x1x2048x128"])
def test_every_target_has_a_space_that_its_registers_hold(arch: str, shape: str) -> None:
    target = named_targets()[f"cpu:{arch}"]
    kernel, workload = registry.kernel("attn_flash"), ATTENTION.parse(shape)
    space = kernel.space(workload, target)
    rng = random.Random(3)
    for _ in range(5):
        config = space.sample(rng)
        vectors = (int(config["KEYS"]) + 1) * int(config["QUERIES"]) * 4 // int(target.limit("vector_bytes"))
        assert vectors < target.limit("vector_registers")
        kernel.lower(workload, config, target)


def test_libraries_are_baselines_under_their_own_names() -> None:
    libraries = {kernel.name for kernel in KERNELS if kernel.baseline}
    assert {"attn_torch", "attn_numpy", "attn_onnxruntime"} <= libraries
