"""Every registered GPU kernel, without a GPU: right on ragged shapes, clean, and compiled without spills."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.kernels.gpu_cases import KERNELS, Case, draw, wrong
from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.builders.triton.interpreter import TritonInterpreter
from tuner.core.kernel import Kernel, Source
from tuner.core.protocol import Protocol
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.building.build_stage import BuildStage
from tuner.engine.processes.workers import Workers
from tuner.lab.ladder import BestRanked
from tuner.schedules.attention.tensorir_cuda.flash import TensorIRFlashCuda
from tuner.schedules.conv2d.triton.implicit_gemm import TritonConv2d
from tuner.targets.cuda import target
from tuner.targets.gpu_model.analytic import predict_artifact

_EMULATOR = CudaEmulatedBuilder().unavailable()
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Callable[[], TritonInterpreter]]:
    """One process for all tests, started by the first that asks; a new one where it died."""
    kept: list[TritonInterpreter] = []

    def running() -> TritonInterpreter:
        if not kept or not kept[-1].alive:
            kept.append(TritonInterpreter())
        return kept[-1]

    yield running
    for process in kept:
        process.close()


def needs(kernel: Kernel) -> None:
    """Skips where what judges the kernel is not installed."""
    if kernel.language == "triton" and find_spec("torch") is None:
        pytest.skip("Triton's interpreter takes torch tensors")
    if kernel.language != "triton" and _EMULATOR:
        pytest.skip(_EMULATOR)
    if reason := registry.no_builder(kernel, "cuda"):
        pytest.skip(reason)


def test_every_operator_has_kernels_in_triton_and_tensorir() -> None:
    there = {(kernel.operator, kernel.language) for kernel in KERNELS}
    languages = ("triton", "tensorir")
    assert {(name, language) for name in registry.operators() for language in languages} <= there


class _ShiftedConv(TritonConv2d):
    """A window begins one pixel too far left."""

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        source = super().lower(workload, config, target)
        constants = {**source.options["constants"], "LEFT": source.options["constants"]["LEFT"] + 1}
        return replace(source, options={**source.options, "constants": constants})


class _UnmaskedAttention(TensorIRFlashCuda):
    """Queries see keys that the mask hides."""

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        source = super().lower(workload, config, target)
        sizes = {**source.options["sizes"], "masked": False}
        return replace(source, options={**source.options, "sizes": sizes})


def test_a_mistake_is_seen(tmp_path: Path, interpreter: Callable[[], TritonInterpreter]) -> None:
    shifted, unmasked = _ShiftedConv(), _UnmaskedAttention()
    conv, attention = registry.operator("conv2d"), registry.operator("attention")
    image = conv.workload("f32", n=1, c=3, h=5, w=6, k=4, r=3, s=3)
    tokens = attention.workload("f32", b=1, h=1, q=9, kv=20, d=16, causal=True)
    for kernel, workload in ((shifted, image), (unmasked, tokens)):
        needs(kernel)
        config = kernel.space(workload, target("sm_80")).sample(random.Random(1))
        case = Case(kernel, workload, config, target("sm_80"), 1)
        assert str(wrong(case, tmp_path / kernel.name, interpreter)).endswith(" wrong")


@pytest.mark.parametrize(
    ("name", "operator", "values", "reason"),
    [
        ("conv_triton", "conv2d", {"n": 1, "c": 70_000, "k": 70_000, "groups": 70_000, "h": 1, "w": 1, "r": 1,
                                   "s": 1}, "70000 groups, at most 65535"),
        ("conv_tir_cuda", "conv2d", {"n": 4096, "c": 64, "h": 64, "w": 64, "k": 8, "r": 1, "s": 1},
         "a tensor has 2^30 elements or more"),
        ("attn_triton", "attention", {"b": 2**12, "h": 32, "q": 1, "kv": 1, "d": 16}, "at most 65535"),
        ("attn_triton_decode", "attention", {"b": 1, "h": 8, "q": 512, "kv": 512, "d": 16, "kv_heads": 1},
         "4096 queries share a head of keys"),
        ("attn_tir_cuda", "attention", {"b": 64, "h": 32, "q": 1, "kv": 2**13, "d": 128}, "2^30 elements"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_reason(
    name: str, operator: str, values: dict[str, int], reason: str
) -> None:
    workload = registry.operator(operator).workload("f32", **values)
    assert reason in (registry.kernel(name).unsupported(workload, target("sm_90")) or "")


def test_tensorir_takes_bf16_where_the_gpu_has_it() -> None:
    """Elsewhere TVM widens it into vectors that no compiler takes."""
    kernels = [k for k in KERNELS if k.language == "tensorir"]
    assert kernels and all("bf16" in kernel.dtypes for kernel in kernels)
    for kernel in kernels:
        operator = registry.operator(kernel.operator)
        workload = operator.parse(operator.example, "bf16")
        assert "bf16 needs" in (kernel.unsupported(workload, target("sm_75")) or "")
        assert kernel.unsupported(workload, target("sm_80")) is None


# One number a kernel by default, all dtypes in the slow suite's twenty.
@every_kernel
def test_a_random_configuration_is_right_and_clean(
    kernel: Kernel, tmp_path: Path, interpreter: Callable[[], TritonInterpreter]
) -> None:
    needs(kernel)
    assert wrong(draw(kernel, 0), tmp_path / "0", interpreter) is None


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(4))
@every_kernel
def test_random_configurations_are_right_and_clean(
    kernel: Kernel, part: int, tmp_path: Path, interpreter: Callable[[], TritonInterpreter]
) -> None:
    needs(kernel)
    for number in range(1 + 5 * part, 6 + 5 * part):
        assert wrong(draw(kernel, number), tmp_path / str(number), interpreter) is None


@every_kernel
@pytest.mark.sampled(12)
def test_compiled_to_a_cubin_that_is_ranked(kernel: Kernel, tmp_path: Path) -> None:
    needs(kernel)
    chosen, operator = target("sm_90"), registry.operator(kernel.operator)
    workload = operator.parse(operator.example, kernel.dtypes[-1])
    config = kernel.space(workload, chosen).sample(random.Random(kernel.name))
    source = kernel.lower(workload, config, chosen)
    artifact = registry.builder_of(kernel, chosen).build(source, chosen, tmp_path)
    assert artifact.format == "cubin" and artifact.path.read_bytes()[:4] == b"\x7fELF"
    assert artifact.metrics["registers"] > 0
    assert artifact.launch is not None and source.launch is not None
    assert artifact.launch.grid == source.launch.grid
    # Tensors that the workload lacks are no arguments, or null pointers of a kernel that declares them.
    names = {spec.name for spec in operator.signature(workload)}
    assert names <= {argument.name for argument in artifact.arguments}
    features = kernel.features(workload, config, chosen)
    prediction = predict_artifact(operator, workload, artifact, features, chosen)
    assert prediction is None or prediction.time_s > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@every_kernel
def test_the_best_ranked_configuration_does_not_spill(kernel: Kernel, arch: str, tmp_path: Path) -> None:
    needs(kernel)
    chosen, operator = target(arch), registry.operator(kernel.operator)
    workers = Workers(tmp_path)
    try:
        stage = BuildStage(workers, tmp_path, chosen, Protocol(threads=1), 1, None)
        for dtype in kernel.dtypes:
            workload = operator.parse(operator.example, dtype)
            if kernel.unsupported(workload, chosen) is not None:
                continue
            ranking = BestRanked(kernel, workload, chosen, stage)
            row = ranking.search(12, 0, 0)
            assert row is not None, f"{workload.key}: {ranking.reason}"
            assert row.metrics["spill_bytes"] == 0
            # Triton's f16 products are tensor cores' business.
            if kernel.language == "triton" and dtype == "f16" and row.config.get("BLOCK_M", 16) >= 16:
                assert row.metrics["loop_tensor"] > 0
    finally:
        workers.close()
