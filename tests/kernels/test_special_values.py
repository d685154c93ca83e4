"""NaN, infinities, the ends of a type's range reach what the definition lets them reach, in every kernel."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kernels.draws import DRAW, served
from tests.kernels.running import Run, lacking, with_tiles
from tests.kernels.test_metaschedule import HERE as FEW_CORES
from tests.kernels.test_metaschedule import proposals
from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.kernel import Kernel
from tuner.core.target import Target
from tuner.devices.cpu.device import CpuDevice, named_targets
from tuner.targets import cuda

HERE = with_tiles(CpuDevice().target)
CPU = [k for k in registry.kernels().values() if not k.baseline and "cpu" in k.target_kinds]
OURS, TRACED = [k for k in CPU if not k.searcher], [k for k in CPU if k.searcher]
CASES = [
    pytest.param(k, dtype, id=f"{k.name}-{dtype}") for k in OURS if k.special_values for dtype in k.dtypes
]
GPU = [
    pytest.param(k, dtype, id=f"{k.name}-{dtype}")
    for k in registry.kernels().values()
    if "cuda" in k.target_kinds and not k.baseline and not k.searcher and k.operator in DRAW
    for dtype in k.dtypes
]
# With an activation where there is one, with a mask that cuts tiles, with heads that share keys.
SHAPES = {
    "gemm": [
        "m37 n29 k53 bias relu",
        "m33 n70 k40 trans_a trans_b beta1 relu",
        "m9 n70 k40 trans_b beta1 relu",
    ],
    "conv2d": [
        "n1 c4 h9 w11 k8 r3 s3 pad1 bias relu",
        "n1 c8 h14 w14 k8 r3 s3 pad1 groups8 bias relu",
        "n1 c8 h14 w14 k8 r3 s3 pad1 groups8 nhwc bias relu",
    ],
    "attention": ["b1 h4 q37 kv53 d40 kv_heads2 causal", "b1 h2 q3 kv150 d32 causal"],
}


_BUILT: dict[str, Run] = {}


@pytest.fixture
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run | None]:
    """A random configuration of (kernel, shape, dtype); `None` where the kernel does not serve that."""

    def build(kernel: Kernel, shape: str, dtype: str = "f32") -> Run | None:
        builder = registry.builder_for(kernel.language, kernel.target_kinds[0])
        if reason := kernel.unavailable() or builder.unavailable():
            pytest.skip(reason)
        if missing := lacking(kernel, HERE, dtype):
            pytest.skip(f"this processor lacks {min(missing)}")
        workload = registry.operator(kernel.operator).parse(shape + " frozen" * kernel.only_frozen, dtype)
        if kernel.unsupported(workload, HERE):
            return None
        key = f"{kernel.name} {workload.key}"
        if key not in _BUILT:
            space = kernel.space(workload, HERE)
            config = space.default or space.sample(random.Random(key))
            folder = tmp_path_factory.mktemp("built")
            _BUILT[key] = Run(kernel, workload, config, HERE, folder)
        return _BUILT[key]

    return build


def spoilt(run: Run, target: Target, seed: int) -> list[str | None]:
    """What is wrong with special values on the workload of the build and, where the kernel takes them, on its
    companions: an entry a workload that was tried."""
    companions = registry.operator(run.kernel.operator).companions(run.workload)
    cases = [run.workload, *(companions if run.kernel.shape_generic else ())]
    wrong = [(c, run.mismatch(c, seed)) for c in cases if run.kernel.unsupported(c, target) is None]
    return [w and f"{run.kernel.name} {dict(run.config)} on {case.key}: {w}" for case, w in wrong]


def check(kernel: Kernel, dtype: str, shapes: list[str], built: Any) -> int:
    """Runs the shapes that the kernel serves, with their companions where it takes them: how many."""
    runs = [run for shape in shapes if (run := built(kernel, shape, dtype)) is not None]
    told = [told for run in runs for told in spoilt(run, HERE, 1)]
    assert not any(told), told
    return len(told)


def check_random(kernel: Kernel, target: Target, dtype: str, builds: int, seed: int, folder: Path) -> None:
    """Random configurations on random workloads and their companions."""
    if reason := kernel.unavailable() or registry.no_builder(kernel, kernel.target_kinds[0]):
        pytest.skip(reason)
    rng = random.Random(f"{kernel.name} {dtype} {seed}")
    for i in range(builds):
        workload = served(kernel, target, rng, dtype)
        space = kernel.space(workload, target)
        config = space.default or space.sample(rng)
        told = spoilt(Run(kernel, workload, config, target, folder / str(i)), target, i)
        assert told and not any(told), told


@pytest.mark.parametrize(("kernel", "dtype"), CASES)
@pytest.mark.sampled(1, each="kernel")
def test_special_values_reach_what_they_should(kernel: Kernel, dtype: str, built: Any) -> None:
    served = check(kernel, dtype, SHAPES[kernel.operator][:1], built)
    assert served or check(kernel, dtype, SHAPES[kernel.operator][1:], built)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kernel", "dtype"), CASES)
def test_in_random_configurations(kernel: Kernel, dtype: str, tmp_path: Path) -> None:
    check_random(kernel, HERE, dtype, 25, 3, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("arch", ["avx2", "x86_64"])
@pytest.mark.parametrize(("kernel", "dtype"), CASES)
def test_on_narrow_targets(kernel: Kernel, dtype: str, arch: str, tmp_path: Path) -> None:
    target = named_targets()[f"cpu:{arch}"]
    if not set(target.features) <= set(HERE.features):
        pytest.skip(f"this machine has no {arch}")
    check_random(kernel, target, dtype, 6, 4, tmp_path)


FLASH = {
    "BLOCK_Q": 32, "BLOCK_KV": 32, "QUERIES": 16, "KEYS": 8, "ROWS": 4, "COLUMNS": 32, "UNROLL": 2,
    "COPY_KV": False, "DECODE_ROWS": 4, "DECODE_KEYS": 4, "PREFETCH": 0, "SPLIT_KV": 1, "threads": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        pytest.param("b1 h2 q70 kv131 d40 causal", {}, marks=pytest.mark.slow),
        ("b2 h6 q37 kv300 d64 kv_heads2 causal", {"SPLIT_KV": 8}),  # parts that some rows do not see
        pytest.param(
            "b1 h8 q9 kv50 d80 kv_heads2 paged page_size7 causal", {"COPY_KV": True, "SPLIT_KV": 2},
            marks=pytest.mark.slow,
        ),
        ("b1 h1 q4 kv150 d67 causal", {"SPLIT_KV": 4}),  # as in decoding, rows together
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_no_query_of_flash_attention_is_reached_by_what_it_does_not_see(
    shape, changes, dtype, tmp_path
) -> None:
    kernel, workload = registry.kernel("attn_flash"), registry.operator("attention").parse(shape, dtype)
    run = Run(kernel, workload, {**FLASH, **changes}, HERE, tmp_path)
    for seed in range(5):
        assert (wrong := run.mismatch(workload, seed)) is None, wrong


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        pytest.param(k, dtype, id=f"{k.name}-{dtype}")
        for k in OURS
        if k.operator == "attention"
        for dtype in sorted({k.dtypes[0], *{"bf16"}.intersection(k.dtypes)})
    ],
)
def test_what_is_masked_changes_no_bit(kernel: Kernel, dtype: str, built: Any) -> None:
    """Keys and values of the future, replaced by NaN: queries of before get the very same result."""
    shape, seen = "b1 h4 q37 kv53 d40 kv_heads2 causal", 30
    run = built(kernel, shape, dtype)
    assert run is not None
    attention = registry.operator("attention")
    workload = attention.parse(shape, dtype)
    inputs = attention.inputs(workload, 1)
    masked = {name: array.copy() for name, array in inputs.items()}
    for name in ("K", "V"):
        masked[name][:, :, seen:] = np.nan
    results = []
    for tensors in (inputs, masked):
        executable = CpuDevice().load(run.artifact)
        out = np.empty_like(inputs["Q"])
        executable.bind({**tensors, "O": out})
        executable.run()
        results.append(out.astype(np.float32))
    blind = seen - (53 - 37)  # so many queries see none of what was replaced
    np.testing.assert_array_equal(results[0][:, :, :blind], results[1][:, :, :blind])
    assert np.isnan(results[1][:, :, blind:]).all()


def test_kernels_that_spread_special_values_say_so(built: Any) -> None:
    """What they say is true, a strict workload is none of theirs, and any other is."""
    spreading = [k for k in OURS if not k.special_values]
    assert sorted(k.name for k in spreading) == ["conv_winograd", "conv_winograd_ahead"]
    conv = registry.operator("conv2d")
    shape = "n1 c8 h20 w20 k16 r3 s3 pad1"
    assert conv.parse(shape).key == conv.parse(shape, strict=False).key
    for kernel in registry.kernels_of("conv2d", "cpu"):
        any_values, strict = (conv.parse(shape + " frozen" * kernel.only_frozen + s) for s in ("", " strict"))
        alike = kernel.unsupported(any_values, HERE) == kernel.unsupported(strict, HERE)
        assert alike == kernel.special_values, kernel.name
        if kernel in spreading:
            assert "spreads NaN" in (kernel.unsupported(strict, HERE) or "")
            run = built(kernel, shape)
            assert run is not None
            assert "is nan, not" in (run.mismatch(any_values, 0) or "")


def test_a_source_kernel_declares_it(tmp_path: Path) -> None:
    text = Path(registry.kernel("conv_naive").source_files()[0]).read_text()
    for value, words in (("true", None), ("false", None), ("1", "special_values is true or false, not 1")):
        path = tmp_path / f"{value}.cpp"
        path.write_text(text.replace('entry = "conv2d"', f'entry = "conv2d"\nspecial_values = {value}'))
        if words is None:
            assert registry.source_kernel(path).special_values == (value == "true")
        else:
            with pytest.raises(Exception, match=words):
                registry.source_kernel(path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kernel", TRACED, ids=lambda k: k.name)
def test_programs_for_metaschedule(kernel: Kernel, tmp_path: Path) -> None:
    builder = registry.builder_for(kernel.language, kernel.target_kinds[0])
    if reason := kernel.unavailable() or builder.unavailable():
        pytest.skip(reason)
    workload = registry.operator(kernel.operator).parse(SHAPES[kernel.operator][0])
    traces = ["[[],[]]", *proposals(kernel, workload, FEW_CORES, 3)]
    for i, trace in enumerate(traces):
        wrong = Run(kernel, workload, {"trace": trace}, FEW_CORES, tmp_path / str(i)).mismatch(workload, i)
        # Some of TVM's schedules of attention compute something else on ordinary inputs, too.
        if i == 0 or kernel.operator != "attention":
            assert wrong is None, wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", ["numpy", "torch", "conv_numpy", "conv_torch"])
def test_libraries_agree_on_activations_and_sums(name: str, built: Any) -> None:
    """What the operators' texts say of NumPy and PyTorch. Their attention lets masked values through."""
    kernel = registry.kernel(name)
    assert check(kernel, "f32", SHAPES[kernel.operator], built) == 2


def checked(kernel: Kernel, shape: str, dtype: str, target: Target) -> tuple[str, str]:
    from tuner.engine.examine.check import check_kernel, choose_configs

    workload = registry.operator(kernel.operator).parse(shape + " frozen" * kernel.only_frozen, dtype)
    if reason := kernel.unavailable() or kernel.unsupported(workload, target):
        pytest.skip(reason)
    configs = choose_configs(kernel.space(workload, target), None, 1, 0)
    (result,) = check_kernel(kernel, [workload], configs, target)
    return result.status, f"{workload.key} {result.config}: {result.error}"


needs_emulator = pytest.mark.skipif(
    CudaEmulatedBuilder().unavailable() is not None, reason=str(CudaEmulatedBuilder().unavailable())
)


@needs_emulator
@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "dtype"), GPU)
def test_gpu_kernels_on_the_emulator(kernel: Kernel, dtype: str) -> None:
    aligned = ["m48 n64 k32 relu"] if kernel.operator == "gemm" else []
    for shape in (*SHAPES[kernel.operator], *aligned):
        status, where = checked(kernel, shape, dtype, cuda.target("sm_80"))
        assert status == "ok", where


@needs_emulator
def test_check_refuses_an_activation_that_hides_nan(tmp_path: Path) -> None:
    source = registry.kernel("cuda_naive").source_files()[0]
    for folder in ("gemm", "common"):
        shutil.copytree(source.parent.parent / folder, tmp_path / folder)
    header = tmp_path / "common" / "epilogue.cuh"
    text = header.read_text()
    wrong = text.replace("return value < Acc(0) ? Acc(0) : value", "return value > Acc(0) ? value : Acc(0)")
    for changed, expected in ((text, "ok"), (wrong, "wrong_result")):
        header.write_text(changed)
        kernel = registry.source_kernel(tmp_path / "gemm" / source.name)
        status, where = checked(kernel, "m12 n16 k8 relu", "f32", cuda.target("sm_80"))
        assert status == expected, where
        if expected != "ok":
            assert "with special values" in where and "not nan" in where
