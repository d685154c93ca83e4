"""The options of the GEMM operator, all of which every kernel in this folder honours."""

from collections.abc import Mapping

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
TENSORS = ("A", "B", "C", "bias", "scale", "Z", "D")


def largest_tensor(workload: Workload) -> int:
    """Elements of the largest of A, B and D."""
    m, n, k = workload["m"], workload["n"], workload["k"]
    return max(m * n, m * k, n * k) * int(workload.option("batch", 1))
