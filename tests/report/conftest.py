"""A comparison made of samples whose ratios are known."""

from datetime import UTC, datetime

import pytest

from tests.report.makers import FLOPS, timing
from tuner.core.workload import Workload
from tuner.report.rows import RowContext, Timing


@pytest.fixture
def context() -> RowContext:
    return RowContext(
        title="A title & more",
        workload=Workload("gemm", "f32", (("m", 64), ("n", 64), ("k", 64))),
        device="EPYC <test>",
        threads=2,
        cache="warm",
        when=datetime(2026, 3, 4, tzinfo=UTC),
        flops=FLOPS,
        bytes=3 * 4 * 64**2,
        peak_flops=100e9,
        bandwidth=10e9,
    )


@pytest.fixture
def timings() -> list[Timing]:
    return [
        timing("cpp_naive", 2.0, naive=True),
        timing("openblas", 40.0, is_baseline=True),
        timing("torch", 32.0, is_baseline=True),
        timing("cpp_packed", 50.0, trials=60),
        timing("tir_packed", 25.0, trials=40),
    ]
