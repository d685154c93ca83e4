"""The options and tensors of the attention operator, for every kernel in this folder."""

import math
from collections.abc import Mapping

import numpy as np

from tuner.core.workload import Option, Workload

OPTIONS: Mapping[str, Option] = {
    "causal": False,
    "kv_heads": 0,
    "scale": 0.0,
    "paged": False,
    "page_size": 16,
}
TENSORS = ("Q", "K", "V", "block_table", "O")


def scale_of(workload: Workload) -> float:
    """The factor of the scores."""
    return float(workload.option("scale", 0.0)) or 1 / math.sqrt(workload["d"])


def heads_of(workload: Workload) -> int:
    """Heads of keys and values."""
    return int(workload.option("kv_heads", 0)) or workload["h"]


def masked(workload: Workload) -> bool:
    """Whether the causal mask hides anything: the one query of a decoding step sees every key."""
    return bool(workload.option("causal", False)) and workload["q"] > 1


def lower_right(workload: Workload) -> np.ndarray:
    """bool[q, kv]: where a query sees a key under the causal mask, aligned at the bottom right."""
    q, kv = workload["q"], workload["kv"]
    return np.tri(q, kv, kv - q, dtype=bool)
