"""Queries of attention in float64: logits and probabilities, block by block, on all cores."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

# Scores of so many query-key pairs are held at a time, by each thread: 8 MiB of float64 a tensor.
_PAIRS = 2**20

Index = tuple[int, int, slice]
"""Batch, head and queries of a block: its place in O."""


@dataclass(frozen=True)
class Rows:
    """The queries of an attention.

    Attributes:
        queries: [b, h, q, d].
        keys, values: [b, kv_heads, kv, d], float64.
        scale: of the scores.
        causal: whether query i sees keys 0 ... i + kv - q only.
    """

    queries: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    scale: float
    causal: bool

    def each(self, work: Callable[[Index, np.ndarray, np.ndarray, np.ndarray], None]) -> None:
        """Calls `work` with each block: its index, logits, probabilities, and the values of its head.

        Blocks are taken side by side by as many threads as there are cores: where a GPU waits for its
        references, they are most of the wait. Logits that a query does not see are -inf.
        """
        b, h, q, _ = self.queries.shape
        step = max(1, _PAIRS // self.keys.shape[2])
        blocks = [
            (i, j, slice(begin, min(begin + step, q)))
            for i in range(b) for j in range(h) for begin in range(0, q, step)
        ]  # fmt: skip
        # What the caller wants to hear of special values is a setting of its thread.
        told = np.geterr()

        def one(index: Index) -> None:
            with np.errstate(**told):
                work(index, *self._block(index))

        if len(blocks) == 1 or b * h * q * self.keys.shape[2] < _PAIRS:
            for index in blocks:
                one(index)
            return
        with ThreadPoolExecutor(min(len(blocks), len(os.sched_getaffinity(0)))) as pool:
            for _ in pool.map(one, blocks):
                pass

    def _block(self, index: Index) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        b, h, rows = index
        group = h // (self.queries.shape[1] // self.keys.shape[1])
        q, kv = self.queries.shape[2], self.keys.shape[2]
        with np.errstate(invalid="ignore"):  # special values
            scores = self.scale * (self.queries[b, h, rows].astype(np.float64) @ self.keys[b, group].T)
            if self.causal:
                last = np.arange(rows.start, rows.stop)[:, None] + kv - q
                scores = np.where(np.arange(kv) <= last, scores, -np.inf)
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p = p / p.sum(axis=1, keepdims=True)
        return scores, p, self.values[b, group]
