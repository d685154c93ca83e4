"""What a run is verified against survives the way through its file, bit by bit."""

from pathlib import Path

import numpy as np
import pytest

from tuner import registry
from tuner.core.operator import worst_error
from tuner.engine import dataset
from tuner.engine.buffers import same_bits


@pytest.mark.parametrize(
    ("operator", "shape", "dtype"), [("gemm", "m5 n7 k3 bias", "f32"), ("gemm", "8x16x24", "f16")]
)
def test_a_dataset_is_read_as_it_was_computed(tmp_path: Path, operator: str, shape: str, dtype: str) -> None:
    op = registry.operator(operator)
    workload = op.parse(shape, dtype)
    dataset.write(op, workload, 3, tmp_path / "data")
    found = dataset.read(tmp_path / "data", workload)
    inputs = op.inputs(workload, 3)
    reference = op.reference(workload, inputs)
    tolerance = op.tolerance(workload, inputs, reference)
    assert found.signature == tuple(op.signature(workload))
    for read, computed in (
        (found.inputs, inputs),
        (found.reference, reference),
        (found.tolerance, tolerance),
    ):
        assert list(read) == list(computed)
        for name, values in computed.items():
            values = np.asarray(values)
            assert read[name].dtype == values.dtype and read[name].shape == values.shape
            assert same_bits(read[name], np.ascontiguousarray(values))
            assert not read[name].flags.writeable
            assert read[name].ctypes.data % 64 == 0


def test_bits_are_compared_not_values() -> None:
    nan = np.array([np.nan, 1.0, 2.0], np.float32)
    assert same_bits(nan, nan.copy())
    assert not same_bits(np.array([0.0]), np.array([-0.0]))
    for size in (1, 3, 8, 17):  # whole words of eight bytes, and not
        one = np.arange(size, dtype=np.uint8)
        other = one.copy()
        assert same_bits(one, other)
        other[-1] ^= 1
        assert not same_bits(one, other)


def test_the_worst_error_is_found_wherever_it_is() -> None:
    size = 20_001  # more than two of the pieces that are compared at a time, and a ragged one
    reference = np.linspace(1.0, 2.0, size)
    tolerance = np.full(size, 1e-3)
    right = reference.astype(np.float32)
    assert worst_error({"D": right}, {"D": reference}, {"D": tolerance})[0] < 1e-3
    for place in (0, 8_191, 8_192, 16_384, size - 1):
        wrong = right.copy()
        wrong[place] += 0.5
        wrong[place // 2] += 0.002  # a smaller one before it, another where they coincide
        share, where = worst_error({"D": wrong}, {"D": reference}, {"D": tolerance})
        assert share == pytest.approx(500, rel=0.01)
        assert where.startswith(f"D[{place}] is ") and f"{2 if place else 1} of {size} wrong" in where
        for bad in (np.nan, np.inf, -np.inf):
            wrong[place] = bad
            assert worst_error({"D": wrong}, {"D": reference}, {"D": tolerance})[0] == np.inf


def test_an_exact_result_needs_no_tolerance() -> None:
    reference = np.array([0.0, 3.0, np.inf, 5.0])
    none = np.zeros(4)
    assert worst_error({"D": reference.copy()}, {"D": reference}, {"D": none}) == (0.0, "")
    off = np.array([0.0, 3.0, np.inf, 6.0])
    share, where = worst_error({"D": off}, {"D": reference}, {"D": none})
    assert share == np.inf and where.startswith("D[3]")
    assert worst_error({"D": np.array([1, 2])}, {"D": np.array([1, 2])}, {"D": np.zeros(2)})[0] == 0.0
