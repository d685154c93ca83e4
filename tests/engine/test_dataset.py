"""What a run is verified against survives the way through its file, bit by bit."""

from pathlib import Path

import numpy as np
import pytest

from tuner import registry
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
