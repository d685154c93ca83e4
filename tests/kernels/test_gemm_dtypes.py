"""GEMM in f16 and int8: inputs, exact reference, tolerance, restrictions; the naive C++ kernel in each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.operator import worst_error
from tuner.operators.gemm import Gemm

GEMM = Gemm()


def test_int8_is_exact_and_wide() -> None:
    workload = GEMM.workload("int8", m=3, n=5, k=70_000, alpha=-1.0, beta=2.0, bias=True)
    inputs = GEMM.inputs(workload, 3)
    assert {name: str(array.dtype) for name, array in inputs.items()} == {
        "A": "int8", "B": "int8", "C": "int32", "bias": "int32"}  # fmt: skip
    assert inputs["A"].min() == -128 and inputs["A"].max() == 127
    reference = GEMM.reference(workload, inputs)
    a, b = inputs["A"].astype(np.int64), inputs["B"].astype(np.int64)
    expected = -(a @ b) + 2 * inputs["C"].astype(np.int64) + inputs["bias"]
    assert reference["D"].dtype == np.int64 and np.array_equal(reference["D"], expected)
    tolerance = GEMM.tolerance(workload, inputs, reference)
    assert worst_error({"D": expected}, reference, tolerance)[0] == 0
    expected[0, 0] += 1
    assert worst_error({"D": expected}, reference, tolerance)[0] == np.inf


@pytest.mark.parametrize(
    ("dtype", "values", "said"),
    [
        ("int8", {"alpha": 0.5}, "integers"),
        ("int8", {"beta": 1.5}, "integers"),
        ("int8", {"k": 200_000}, "overflow int32"),
        ("f16", {"alpha": 1e5}, "65504"),
    ],
)
def test_restrictions_are_one_line(dtype: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidWorkload, match=said) as raised:
        GEMM.workload(dtype, **{"m": 4, "n": 4, "k": 4, **values})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("k", [1, 64, 1024])
def test_f16_takes_one_rounding_and_no_skipped_product(k: int) -> None:
    workload = GEMM.workload("f16", m=32, n=32, k=k)
    inputs = GEMM.inputs(workload, 1)
    reference = GEMM.reference(workload, inputs)
    tolerance = GEMM.tolerance(workload, inputs, reference)
    a, b = inputs["A"].astype(np.float32), inputs["B"].astype(np.float32)
    assert worst_error({"D": (a @ b).astype(np.float16)}, reference, tolerance)[0] <= 1
    short = (a[:, 1:] @ b[1:]).astype(np.float16)
    assert worst_error({"D": short}, reference, tolerance)[0] > 1


@pytest.mark.skipif(registry.builder("cxx").unavailable() is not None, reason="no C++ compiler")
@pytest.mark.parametrize("dtype", registry.kernel("cpp_naive").dtypes)
@pytest.mark.parametrize(
    "options", [{}, {"batch": 2, "trans_a": True, "trans_b": True, "alpha": -2.0, "beta": 3.0, "bias": True,
                     "relu": True}], ids=["plain", "all options"])  # fmt: skip
def test_naive_cpp(dtype: str, options: dict[str, Any], tmp_path: Path) -> None:
    device = registry.device_classes()["cpu"].discover()[0]
    kernel = registry.kernel("cpp_naive")
    workload = GEMM.workload(dtype, m=37, n=29, k=53, **options)
    source = kernel.lower(workload, {}, device.target)
    executable = device.load(registry.builder("cxx").build(source, device.target, tmp_path))
    inputs = GEMM.inputs(workload, 1)
    outputs = {s.name: np.zeros(s.shape, s.dtype) for s in GEMM.signature(workload) if s.output}
    executable.bind({**inputs, **outputs})
    executable.run()
    reference = GEMM.reference(workload, inputs)
    error, where = worst_error(
        {"D": executable.read("D")}, reference, GEMM.tolerance(workload, inputs, reference)
    )
    assert error <= 1, where
