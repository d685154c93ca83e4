"""The options of the GEMM operator: those that every kernel in this folder honours, and more activations."""

from collections.abc import Mapping

from tuner.core.activations import OF_PRODUCTS
from tuner.core.workload import Option, Workload

OPTIONS: Mapping[str, Option] = {
    "batch": 1,
    "trans_a": False,
    "trans_b": False,
    "alpha": 1.0,
    "beta": 0.0,
    "bias": False,
    "relu": False,
}
ACTIVATED: Mapping[str, Option] = {**OPTIONS, **dict.fromkeys(OF_PRODUCTS, False)}
"""With those that a kernel says it has."""
TENSORS = ("A", "B", "C", "bias", "scale", "Z", "D")


def largest_tensor(workload: Workload) -> int:
    """Elements of the largest of A, B and D."""
    m, n, k = workload["m"], workload["n"], workload["k"]
    return max(m * n, m * k, n * k) * int(workload.option("batch", 1))
