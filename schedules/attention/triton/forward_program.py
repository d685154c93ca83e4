"""The Triton kernel for many queries: imported by the builder and the interpreter, never by the registry."""

import triton
import triton.language as tl

from tuner.schedules.attention.triton.tile import attend, offset_of, pages_of


@triton.jit
def forward(
    Q, K, V, block_table, O,  # noqa: E741
    H: tl.constexpr, Q_LENGTH: tl.constexpr, KV: tl.constexpr, D: tl.constexpr, GROUP: tl.constexpr,
    PAGE: tl.constexpr, CAUSAL: tl.constexpr, SCALE: tl.constexpr, INPUT_PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Programs (tile of queries, query head, sequence), each over all keys that its queries see.

    GROUP query heads share a head of keys. SCALE is the factor of the scores times log2(e). Keys are taken in
    two loops: tiles that every query of the program sees whole need no mask.
    """
    KV_HEADS: tl.constexpr = H // GROUP
    tiles = tl.num_programs(0)
    # Under a mask the last queries see most: they begin first.
    tile = tiles - 1 - tl.program_id(0) if CAUSAL else tl.program_id(0)
    head, sequence = tl.program_id(1), tl.program_id(2)
    offset = offset_of(sequence, head // GROUP, KV, D, PAGE, KV_HEADS)
    K, V = K + offset, V + offset
    table = pages_of(block_table, sequence, KV, PAGE) if PAGE else block_table
    row, column = tile * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    at = (sequence.to(tl.int64) * H + head) * (Q_LENGTH * D) + row[:, None] * D + column[None, :]
    inside = (row < Q_LENGTH)[:, None] & (column < D)[None, :]
    q = tl.load(Q + at, mask=inside, other=0)

    limit = row + (KV - Q_LENGTH + 1) if CAUSAL else row * 0 + KV
    stop, clear = KV, KV // BLOCK_N * BLOCK_N
    if CAUSAL:
        stop = min(KV, (tile + 1) * BLOCK_M + (KV - Q_LENGTH))
        clear = min(tile * BLOCK_M + (KV - Q_LENGTH + 1), KV) // BLOCK_N * BLOCK_N
    total, _, norm = attend(
        q, K, V, table, 0, clear, stop, limit, column, CAUSAL,
        SCALE, D, PAGE, KV_HEADS, INPUT_PRECISION, BLOCK_N, BLOCK_D,
    )  # fmt: skip
    tl.store(O + at, (total / norm[:, None]).to(O.dtype.element_ty), mask=inside)
