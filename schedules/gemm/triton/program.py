"""The Triton GEMM itself: imported by the builder and by the interpreter, never by the registry.

Triton decides at import whether a kernel is compiled or interpreted (`TRITON_INTERPRET`), and `@triton.jit`
reads the function's source from its file, so the kernel has a file of its own.
"""

import triton
import triton.language as tl

from tuner.schedules.triton_activations import activated
from tuner.schedules.triton_sums import add_product


@triton.jit
def gemm(
    A,
    B,
    C,
    bias,
    D,
    partial,
    arrived,
    m,
    n,
    k,
    TRANS_A: tl.constexpr,
    TRANS_B: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    INTEGER: tl.constexpr,
    EVEN_K: tl.constexpr,
    INPUT_PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    SPLIT_K: tl.constexpr,
):
    """D[b] = act(ALPHA * op(A[b]) op(B[b]) + BETA * C[b] + bias): programs (tile, share of k, b).

    `partial` [batch, SPLIT_K, m, n] and `arrived` [batch, tiles] are there where SPLIT_K > 1: each share
    leaves its sums, and the last to arrive adds them up in a fixed order, so that the
    result is always the same.
    """
    tile = tl.program_id(0)
    share = tl.program_id(1)
    batch = tl.program_id(2)
    tiles_m = tl.cdiv(m, BLOCK_M)
    tiles_n = tl.cdiv(n, BLOCK_N)
    # Grouped ordering: GROUP_M rows of tiles are visited column by column, so that neighbours share L2.
    group = tile // (GROUP_M * tiles_n)
    first = group * GROUP_M
    rows = min(tiles_m - first, GROUP_M)
    tile_m = first + (tile % (GROUP_M * tiles_n)) % rows
    tile_n = (tile % (GROUP_M * tiles_n)) // rows

    row = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    col = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    # Rows and columns outside are read as others inside and never written: no mask in the loop for them.
    row_in = tl.max_contiguous(tl.multiple_of(row % m, BLOCK_M), BLOCK_M)
    col_in = tl.max_contiguous(tl.multiple_of(col % n, BLOCK_N), BLOCK_N)
    step = tl.arange(0, BLOCK_K)
    a_row = 1 if TRANS_A else k
    a_step = m if TRANS_A else 1
    b_step = 1 if TRANS_B else n
    b_col = k if TRANS_B else 1
    depth = share * BLOCK_K + step
    # 64 bits: a matrix may have 2^31 elements.
    row_in, col_in, depth = row_in.to(tl.int64), col_in.to(tl.int64), depth.to(tl.int64)
    a_at = A + batch.to(tl.int64) * m * k + row_in[:, None] * a_row + depth[None, :] * a_step
    b_at = B + batch.to(tl.int64) * k * n + depth[:, None] * b_step + col_in[None, :] * b_col

    kind: tl.constexpr = tl.int32 if INTEGER else tl.float32
    ZERO: tl.constexpr = 0 if INTEGER else 0.0  # an integer is none of 8-bit floats
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=kind)
    # Share s of SPLIT_K takes the tiles s, s + SPLIT_K, ... along k.
    for start in range(share * BLOCK_K, k, BLOCK_K * SPLIT_K):
        if EVEN_K:
            a = tl.load(a_at)
            b = tl.load(b_at)
        else:
            inside = start + step < k
            a = tl.load(a_at, mask=inside[None, :], other=ZERO)
            b = tl.load(b_at, mask=inside[:, None], other=ZERO)
        total = add_product(total, a, b, INPUT_PRECISION)
        a_at += BLOCK_K * SPLIT_K * a_step
        b_at += BLOCK_K * SPLIT_K * b_step

    row64 = row.to(tl.int64)
    inside_d = (row < m)[:, None] & (col < n)[None, :]
    place = batch.to(tl.int64) * m * n + row64[:, None] * n + col[None, :]
    last = True
    if SPLIT_K > 1:
        size = m.to(tl.int64) * n
        mine = partial + (batch * SPLIT_K + share) * size + row64[:, None] * n + col[None, :]
        tl.store(mine, total, mask=inside_d)
        tl.debug_barrier()  # all threads' sums are out before the count says so
        counter = arrived + batch * tiles_m * tiles_n + tile
        last = tl.atomic_add(counter, 1, sem="acq_rel") == SPLIT_K - 1
        if last:
            tl.debug_barrier()
            total = tl.zeros((BLOCK_M, BLOCK_N), dtype=kind)
            for other in range(SPLIT_K):
                theirs = partial + (batch * SPLIT_K + other) * size + row64[:, None] * n + col[None, :]
                # .cg: from L2, where other SMs' stores are; the first-level cache would not see them.
                total += tl.load(theirs, mask=inside_d, other=0, cache_modifier=".cg")
            tl.store(counter, 0)  # for the next call
    if last:
        value = total * ALPHA
        if BETA != 0:
            value += BETA * tl.load(C + place, mask=inside_d, other=0).to(kind)
        if HAS_BIAS:
            value += tl.load(bias + col, mask=col < n, other=0).to(kind)[None, :]
        value = activated(value, ACTIVATION)
        tl.store(D + place, value.to(D.dtype.element_ty), mask=inside_d)
