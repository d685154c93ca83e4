"""The Triton kernel for few queries: imported by the builder and the interpreter, never by the registry."""

import triton
import triton.language as tl

from tuner.schedules.attention.triton.tile import attend, offset_of, pages_of


@triton.jit
def _combine(
    total, top, norm, sums, tops, counter, there, part,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr, SPLIT_KV: tl.constexpr, SCALE: tl.constexpr,
):  # fmt: skip
    """The weighted sum and the sum of weights over all parts, and whether this program is the last to arrive,
    which alone has them. `sums` and `tops` point at what the first part leaves for the rows."""
    tl.store(sums + part * (ROWS * BLOCK_D), total, mask=there[:, None])
    tl.store(tops + part * (2 * ROWS), top, mask=there)
    tl.store(tops + part * (2 * ROWS) + ROWS, norm, mask=there)
    tl.debug_barrier()  # all threads' sums are out before the count says so
    last = tl.atomic_add(counter, 1, sem="acq_rel") == SPLIT_KV - 1
    if last:
        tl.debug_barrier()
        top = tl.full((total.shape[0],), -float("inf"), tl.float32)
        norm = tl.zeros_like(norm)
        total = tl.zeros_like(total)
        for _ in range(SPLIT_KV):
            # .cg: from L2, where other SMs' stores are; the first-level cache would not see them.
            theirs = tl.load(tops, mask=there, other=0, cache_modifier=".cg")
            weights = tl.load(tops + ROWS, mask=there, other=0, cache_modifier=".cg")
            values = tl.load(sums, mask=there[:, None], other=0, cache_modifier=".cg")
            higher = tl.maximum(top, theirs)
            base = tl.where(higher == -float("inf"), 0.0, higher)
            shrink, grow = tl.exp2((top - base) * SCALE), tl.exp2((theirs - base) * SCALE)
            norm = norm * shrink + weights * grow
            total = total * shrink[:, None] + values * grow[:, None]
            top = higher
            tops += 2 * ROWS
            sums += ROWS * BLOCK_D
        tl.store(counter, 0)  # for the next call
    return total, norm, last


@triton.jit
def decode(
    Q, K, V, block_table, O, sums, tops, arrived,  # noqa: E741
    H: tl.constexpr, Q_LENGTH: tl.constexpr, KV: tl.constexpr, D: tl.constexpr, GROUP: tl.constexpr,
    PAGE: tl.constexpr, CAUSAL: tl.constexpr, SCALE: tl.constexpr, INPUT_PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, SPLIT_KV: tl.constexpr,
    SHARE: tl.constexpr,
):  # fmt: skip
    """Programs (tile of rows, part of the keys, sequence and head of keys): few queries, many keys.

    The rows are the queries of all GROUP query heads that share a head of keys, so that keys are read once
    for all of them. Part s of SPLIT_KV takes SHARE keys, a multiple of BLOCK_N, from s * SHARE on (Dao et
    al., Flash-Decoding, 2023).

    `sums` [heads, SPLIT_KV, rows, BLOCK_D], `tops` [heads, SPLIT_KV, 2, rows] (largest score, sum of weights)
    and `arrived` [heads, tiles] are there where SPLIT_KV > 1: each part leaves its own, and the last to
    arrive combines them in the order of the parts.
    """
    KV_HEADS: tl.constexpr = H // GROUP
    ROWS: tl.constexpr = GROUP * Q_LENGTH
    tile, part, both = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    sequence, kv_head = both // KV_HEADS, both % KV_HEADS
    offset = offset_of(sequence, kv_head, KV, D, PAGE, KV_HEADS)
    K, V = K + offset, V + offset
    table = pages_of(block_table, sequence, KV, PAGE) if PAGE else block_table
    row, column = tile * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    at = both.to(tl.int64) * (ROWS * D) + row[:, None] * D + column[None, :]
    inside = (row < ROWS)[:, None] & (column < D)[None, :]
    q = tl.load(Q + at, mask=inside, other=0)

    limit = row % Q_LENGTH + (KV - Q_LENGTH + 1) if CAUSAL else row * 0 + KV
    first, stop = part * SHARE, min(KV, (part + 1) * SHARE)
    clear = stop // BLOCK_N * BLOCK_N
    if CAUSAL:
        # Every query sees the keys before the first of the queries' own, and that one.
        clear = min(stop, KV - Q_LENGTH + 1) // BLOCK_N * BLOCK_N
    clear = max(first, clear)
    total, top, norm = attend(
        q, K, V, table, first, clear, stop, limit, column, CAUSAL,
        SCALE, D, PAGE, KV_HEADS, INPUT_PRECISION, BLOCK_N, BLOCK_D,
    )  # fmt: skip

    last = True
    if SPLIT_KV > 1:
        at_sums = (
            sums + both.to(tl.int64) * (SPLIT_KV * ROWS * BLOCK_D) + row[:, None] * BLOCK_D + column[None, :]
        )
        at_tops = tops + both * (SPLIT_KV * 2 * ROWS) + row
        counter = arrived + both * tl.num_programs(0) + tile
        total, norm, last = _combine(
            total, top, norm, at_sums, at_tops, counter, row < ROWS, part, ROWS, BLOCK_D, SPLIT_KV, SCALE
        )
    if last:
        tl.store(O + at, (total / norm[:, None]).to(O.dtype.element_ty), mask=inside)
