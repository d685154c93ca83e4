"""Where a sweep begins that knows nothing of its own: at shipped configurations that were good elsewhere."""

import random

import pytest

from tuner import registry
from tuner.core.default_config import default_config
from tuner.engine.tuning.known_starts import fitted, known_starts, shipped

AVX2, AVX512 = registry.target("cpu:avx2"), registry.target("cpu:avx512")
HOPPER = registry.target("cuda:sm_90")


@pytest.mark.parametrize(
    ("kernel", "dtype"), [(name, dtype) for name, dtypes in shipped().items() for dtype in dtypes]
)
def test_what_is_shipped_names_kernels_and_their_parameters(kernel: str, dtype: str) -> None:
    known = registry.kernel(kernel)
    assert dtype in known.dtypes
    operator = registry.operator(known.operator)
    workload = operator.parse(operator.example, dtype)
    if known.only_frozen:
        workload = operator.parse(operator.example, dtype, frozen=True)
    chosen = AVX512 if "cpu" in known.target_kinds else HOPPER
    names = {p.name for p in known.space(workload, chosen).parameters}
    for config in shipped()[kernel][dtype]:
        assert config.keys() <= names


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [(name, dtype) for name, dtypes in shipped().items() for dtype in dtypes
     if "cpu" in registry.kernel(name).target_kinds],
)  # fmt: skip
def test_a_sweep_on_several_cores_begins_with_several_threads(kernel: str, dtype: str) -> None:
    known = registry.kernel(kernel)
    operator = registry.operator(known.operator)
    workload = operator.parse(operator.example, dtype, **({"frozen": True} if known.only_frozen else {}))
    for config in known_starts(known, workload, known.space(workload, AVX512), 40).configs:
        assert int(config.get("threads", 2)) > 1


@pytest.mark.parametrize("on", [AVX2, AVX512], ids=lambda each: each.name)
@pytest.mark.parametrize("shape", ["2048x2048x2048", "1x4096x64", "127x129x131"])
def test_every_start_is_valid_where_the_sweep_is(shape: str, on: object) -> None:
    kernel = registry.kernel("cpp_packed")
    workload = registry.operator("gemm").parse(shape)
    space = kernel.space(workload, on)  # type: ignore[arg-type]
    found = known_starts(kernel, workload, space, 24)
    assert 1 <= len(found.configs) <= 8
    assert all(space.why_invalid(config) is None for config in found.configs)
    assert len({space.indices(config) for config in found.configs}) == len(found.configs)
    assert "good at other shapes" in found.why
    # A third of the trials at most.
    assert len(known_starts(kernel, workload, space, 6).configs) <= 2


def test_halves_that_become_f32_begin_where_f32_does() -> None:
    """Convolutions of f16 have no starts of their own; what f32 reads in place has to be packed for them."""
    kernel, conv2d = registry.kernel("conv_implicit_gemm"), registry.operator("conv2d")
    assert "f16" in kernel.dtypes and "f16" not in shipped()[kernel.name]
    workload = conv2d.parse("n1 c64 h56 w56 k64 r1 s1", "f16")
    space = kernel.space(workload, AVX512)
    found = known_starts(kernel, workload, space, 24)
    assert found.configs and found.why.endswith("other shapes, of f32")
    assert all(space.why_invalid(config) is None and config["PACK_W"] for config in found.configs)


def test_a_start_that_fits_is_taken_as_it_is() -> None:
    kernel, workload = registry.kernel("cpp_packed"), registry.operator("gemm").parse("2048x2048x2048")
    space = kernel.space(workload, AVX512)
    rng = random.Random(0)
    for asked in (space.sample(rng) for _ in range(5)):
        assert fitted(space, asked, default_config(space)) == asked


def test_values_that_are_in_no_list_here_become_the_nearest() -> None:
    kernel, workload = registry.kernel("cpp_packed"), registry.operator("gemm").parse("2048x2048x2048")
    space = kernel.space(workload, AVX512)
    found = fitted(space, {"KC": 250, "INNER": "sideways", "MR": 8}, default_config(space))
    assert found is not None and (found["KC"], found["MR"]) == (256, 8) and found["INNER"] in ("m", "n")


# Starts that divide k are for products with few tiles.
@pytest.mark.parametrize("dtype", ["f16", "int8"])
@pytest.mark.parametrize(("shape", "divides"), [("4096x4096x4096", False), ("512x512x8192", True)])
def test_what_is_shipped_for_a_gpu_is_taken_as_it_is(shape: str, divides: bool, dtype: str) -> None:
    kernel, gemm = registry.kernel("cuda_wgmma_tma"), registry.operator("gemm")
    workload = gemm.parse(shape, dtype, trans_b=dtype == "int8")
    space = kernel.space(workload, HOPPER)
    found = known_starts(kernel, workload, space, 24)
    here = [config for config in shipped()[kernel.name][dtype] if divides or config["SPLIT"] == 1]
    assert list(found.configs[: len(here)]) == here
    assert all(divides or config["SPLIT"] == 1 for config in found.configs)
