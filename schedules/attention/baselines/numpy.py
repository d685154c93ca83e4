"""NumPy: two batched matrix products with a softmax between them."""

from collections.abc import Callable, Mapping

import numpy as np

from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS, TENSORS, heads_of, lower_right, masked, scale_of
from tuner.schedules.library import LibraryKernel


class NumpyAttention(LibraryKernel):
    """The attention that people write in NumPy."""

    name = "attn_numpy"
    operator = "attention"
    summary = "numpy: matmul (OpenBLAS), softmax in place, matmul; all scores in memory"
    dtypes = ("f32",)
    options = OPTIONS
    libraries = ("numpy",)
    factory = "tuner.schedules.attention.baselines.numpy:prepare"
    tensors = TENSORS


def prepare(workload: Workload, tensors: Mapping[str, np.ndarray], threads: int) -> Callable[[], object]:
    """The call. Query heads of one head of keys are rows of one product; pages are gathered in the call."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads)  # stays in force: nothing restores it
    b, h, q, kv, d = (size for _, size in workload)
    heads = heads_of(workload)
    rows = h // heads * q
    queries = tensors["Q"].reshape(b, heads, rows, d)
    out = tensors["O"].reshape(b, heads, rows, d)
    k, v, table = tensors["K"], tensors["V"], tensors.get("block_table")
    scale = np.float32(scale_of(workload))
    hidden = np.tile(~lower_right(workload), (h // heads, 1)) if masked(workload) else None
    scores = np.empty((b, heads, rows, kv), np.float32)

    def cache(values: np.ndarray) -> np.ndarray:
        if table is None:
            return values
        return values[table].reshape(b, -1, heads, d)[:, :kv].swapaxes(1, 2)

    def call() -> None:
        np.matmul(queries, cache(k).swapaxes(-1, -2), out=scores)
        np.multiply(scores, scale, out=scores)
        if hidden is not None:
            np.copyto(scores, np.float32(-np.inf), where=hidden)
        np.subtract(scores, scores.max(axis=-1, keepdims=True), out=scores)
        np.exp(scores, out=scores)
        np.matmul(scores, cache(v), out=out)
        np.divide(out, scores.sum(axis=-1, keepdims=True), out=out)

    return call
