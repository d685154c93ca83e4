"""The analytic model orders what must be ordered; its absolute times are nobody's promise."""

from pathlib import Path

import pytest

from tuner.core.artifact import Artifact, Toolchain
from tuner.core.kernel import KernelStep, Launch
from tuner.operators.gemm import Gemm
from tuner.targets.cuda import target
from tuner.targets.gpu_model.analytic import LAUNCH_S, predict, predict_artifact

GEMM, A100 = Gemm(), target("cuda:sm_80")
SQUARE = GEMM.workload("f32", m=4096, n=4096, k=4096)
# 128 x 128 tiles, 8 x 8 a thread, BK 16: figures of the warp-tile rung.
METRICS = {
    "registers": 128, "shared_bytes": 32_768, "loop_instructions": 290, "loop_math": 256, "loop_macs": 256,
    "loop_shared_bytes": 256, "loop_tensor": 0, "load_macs": 256,
}  # fmt: skip
FEATURES = {"macs": 4096**3, "traffic_bytes": 32 * 32 * 256 * 4096 * 4, "steps": 256, "stages": 3}
LAUNCH = Launch((1024, 1, 1), (256, 1, 1), 32_768)


def seconds(metrics: dict = {}, features: dict = {}, launch: Launch = LAUNCH, workload=SQUARE) -> float:  # noqa: B006
    found = predict(GEMM, workload, {**METRICS, **metrics}, {**FEATURES, **features}, launch, A100)
    assert found is not None
    longest = found.parts[found.bound]
    assert longest == max(found.parts.values())
    # Parts overlap at most wholly, at least not at all.
    assert longest <= found.time_s - LAUNCH_S <= sum(found.parts.values())
    return found.time_s


def test_no_faster_than_the_peaks() -> None:
    least = GEMM.flops(SQUARE) / A100.limit("peak_flops_f32")
    assert least <= seconds() < 3 * least


def test_what_makes_a_kernel_slower() -> None:
    base = seconds()
    assert seconds({"loop_instructions": 600}) > base  # issue slots
    assert seconds({"loop_shared_bytes": 2048}) > base  # shared memory
    assert seconds({}, {"traffic_bytes": 20 * FEATURES["traffic_bytes"]}) > base  # L2
    assert seconds({"registers": 250}, {"stages": 1}) > base  # one block an SM, and nothing under way
    assert seconds({}, {"macs": 2 * 4096**3}) > base  # padding


def test_what_does_not_bind_breaks_ties() -> None:
    # Both are bound by the multiply-add pipe; one leaves more issue slots free.
    assert seconds({"loop_instructions": 300}) < seconds({"loop_instructions": 400})


def test_a_wave_that_is_not_full_costs_a_whole_one() -> None:
    # 100,000 bytes of shared memory: one block an SM, 108 in a wave; the work a block stays the same.
    def time(blocks: int) -> float:
        macs = blocks * 128 * 128 * 4096
        features = {"macs": macs, "traffic_bytes": 0, "steps": 256}
        return seconds({"shared_bytes": 100_000}, features, Launch((blocks, 1, 1), (256, 1, 1)))

    assert time(108) == pytest.approx(time(60))
    assert time(109) == pytest.approx(2 * time(108), rel=0.02)


def test_a_skinny_product_is_bound_by_memory() -> None:
    skinny = GEMM.workload("f32", m=1, n=16_384, k=16_384)
    launch = Launch((1728, 1, 1), (256, 1, 1))
    features = {"macs": 16_384**2, "traffic_bytes": 4 * 16_384**2, "steps": 9, "stages": 3}
    found = predict(GEMM, skinny, METRICS, features, launch, A100)
    assert found is not None and found.bound == "memory"


def test_a_block_that_does_not_fit_has_no_time() -> None:
    assert predict(GEMM, SQUARE, {**METRICS, "shared_bytes": 200_000}, FEATURES, LAUNCH, A100) is None


def test_several_kernels_take_the_sum_of_their_times() -> None:
    work = {"flops": 2.0 * 4096**3, "least_bytes": 3 * 4096 * 4096 * 4.0}

    def artifact(count: int) -> Artifact:
        steps = [KernelStep("k", (), LAUNCH, {**METRICS, **work}) for _ in range(count)]
        return Artifact(
            Path("kernel.cubin"), "cubin", "k", (), "0", Toolchain("test", "1"), 1, LAUNCH, steps[-1].metrics,
            tuple(steps[:-1]),
        )  # fmt: skip

    two, four = (predict_artifact(GEMM, SQUARE, artifact(n), {}, A100) for n in (2, 4))
    assert two is not None and four is not None
    assert four.time_s == pytest.approx(2 * two.time_s) and two.parts[two.bound] == max(two.parts.values())
    # Each kernel is no faster than its own share of the peak lets it be.
    assert two.time_s > 2 * work["flops"] / A100.limit("peak_flops_f32")
    found = predict_artifact(GEMM, SQUARE, artifact(1), FEATURES, A100)
    assert found is not None and found.time_s == pytest.approx(seconds())
