"""Tiles of keys for the Triton attention kernels: imported by them, never by the registry.

Both kernels keep a running softmax over tiles of keys (Milakov and Gimelshein, Online normalizer calculation
for softmax, 2018; Dao, FlashAttention-2, 2023): `top` is the largest score of a row so far, `norm` the sum of
its weights, `total` the weighted sum of values; a larger score rescales both sums.

Scores are scaled after `top` is subtracted: (s - top) * c is 0 for the largest one however large it is, while
s * c - top * c may be contracted to a fused multiply-add, which rounds only one of the two products.
"""

import triton
import triton.language as tl


@triton.jit
def offset_of(
    sequence, kv_head, KV: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr, KV_HEADS: tl.constexpr
):
    """Elements from the start of the cache to a head of keys or values; in pages, to the head in a page."""
    if PAGE == 0:
        # 64 bits: a cache may have 2^31 elements.
        offset = (sequence.to(tl.int64) * KV_HEADS + kv_head) * (KV * D)
    else:
        offset = (kv_head * D).to(tl.int64)
    return offset


@triton.jit
def pages_of(table, sequence, KV: tl.constexpr, PAGE: tl.constexpr):
    """The sequence's row of the block table; a function of its own, since Triton 3.6 can return no `None`."""
    return table + sequence * ((KV + PAGE - 1) // PAGE)


@triton.jit
def _load(
    cache, table, token, inside, column,
    WHOLE: tl.constexpr, PAGE: tl.constexpr, KV_HEADS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Tokens of the cache as a tile [tokens, BLOCK_D]: zero outside; all tokens are inside where WHOLE.

    `cache` points at the head's first token, or, in pages of PAGE tokens (0: not in pages), at the head in
    the first page; `table` at the sequence's pages.
    """
    if PAGE == 0:
        place = token[:, None] * D + column[None, :]
    else:
        page = tl.load(table + token // PAGE, mask=inside, other=0).to(tl.int64)
        place = ((page * PAGE + token % PAGE) * (KV_HEADS * D))[:, None] + column[None, :]
    if WHOLE and D == BLOCK_D:
        values = tl.load(cache + place)
    elif WHOLE:
        values = tl.load(cache + place, mask=(column < D)[None, :], other=0)
    else:
        values = tl.load(cache + place, mask=inside[:, None] & (column < D)[None, :], other=0)
    return values


@triton.jit
def _scores(q, k, INPUT_PRECISION: tl.constexpr):
    """Products of queries and keys; below 16 rows, of which tensor cores make nothing, vector by vector."""
    if q.shape[0] < 16:
        score = tl.sum(q.to(tl.float32)[:, None, :] * k.to(tl.float32)[None, :, :], 2)
    else:
        score = tl.dot(q, tl.trans(k), input_precision=INPUT_PRECISION)
    return score


@triton.jit
def _weigh(score, top, norm, SCALE: tl.constexpr):
    """Weights of a tile's scores; the largest score, the sum of weights and the factor of older sums."""
    higher = tl.maximum(top, tl.max(score, 1))
    # Of a row whose scores so far are all -inf every weight is 0, not exp(-inf + inf).
    base = tl.where(higher == -float("inf"), 0.0, higher)
    shrink = tl.exp2((top - base) * SCALE)
    weight = tl.exp2((score - base[:, None]) * SCALE)
    return weight, higher, norm * shrink + tl.sum(weight, 1), shrink[:, None]


@triton.jit
def _add_tile(
    total, top, norm, q, K, V, table, start, limit, stop, column,
    WHOLE: tl.constexpr, MASKED: tl.constexpr, SCALE: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr,
    KV_HEADS: tl.constexpr, INPUT_PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """`total`, `top` and `norm` with the tile of keys from `start` on, below `stop`.

    All keys are below `stop` where WHOLE; row i sees those below limit[i] where MASKED, else all.
    """
    token = start + tl.arange(0, BLOCK_N)
    inside = token < stop
    k = _load(K, table, token, inside, column, WHOLE, PAGE, KV_HEADS, D, BLOCK_D)
    v = _load(V, table, token, inside, column, WHOLE, PAGE, KV_HEADS, D, BLOCK_D)
    score = _scores(q, k, INPUT_PRECISION)
    visible = inside[None, :]
    if MASKED:
        visible = visible & (token[None, :] < limit[:, None])
    if MASKED or not WHOLE:
        score = tl.where(visible, score, -float("inf"))
    weight, top, norm, shrink = _weigh(score, top, norm, SCALE)
    if q.shape[0] < 16:
        product = weight[:, :, None] * v.to(tl.float32)[None, :, :]
        if MASKED:
            product = tl.where(visible[:, :, None], product, 0.0)
        total = total * shrink + tl.sum(product, 1)
    else:
        total = tl.dot(weight.to(v.dtype), v, total * shrink, input_precision=INPUT_PRECISION)
    return total, top, norm


@triton.jit
def _attend_exactly(
    q, K, V, table, first, stop, limit, column,
    SCALE: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr, KV_HEADS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """The sums key by key: its value meets the f32 weights of the rows that see it, and no others.

    It is there for the rare value that is not finite, so it is made to take few registers, not little time.
    """
    top = tl.full((q.shape[0],), -float("inf"), tl.float32)
    norm = tl.zeros((q.shape[0],), tl.float32)
    total = tl.zeros((q.shape[0], BLOCK_D), tl.float32)
    for one in tl.range(first, stop, num_stages=1):
        token = one + tl.arange(0, 1)
        k = _load(K, table, token, token < stop, column, True, PAGE, KV_HEADS, D, BLOCK_D).to(tl.float32)
        v = _load(V, table, token, token < stop, column, True, PAGE, KV_HEADS, D, BLOCK_D).to(tl.float32)
        visible = (one < limit)[:, None]
        score = tl.where(visible, tl.sum(q.to(tl.float32) * k, 1)[:, None], -float("inf"))
        weight, top, norm, shrink = _weigh(score, top, norm, SCALE)
        total = total * shrink + tl.where(visible, weight * v, 0.0)
    return total, top, norm


@triton.jit
def attend(
    q, K, V, table, first, clear, stop, limit, column,
    MASKED: tl.constexpr, SCALE: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr, KV_HEADS: tl.constexpr,
    INPUT_PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """The weighted sum of values [rows, BLOCK_D], the largest score and the sum of weights [rows].

    Row i sees the keys from `first` on below `stop` and limit[i]; those below `clear` every row sees. Without
    MASKED, no limit is below `stop`.

    In a product of matrices, a value that is infinite or NaN meets also the weight of 0 of the rows that do
    not see it, and, in f16, weights that were rounded to 0: both would be NaN. So where there is a NaN that
    no score explains, everything is computed again, slowly.
    """
    top = tl.full((q.shape[0],), -float("inf"), tl.float32)
    norm = tl.zeros((q.shape[0],), tl.float32)
    total = tl.zeros((q.shape[0], BLOCK_D), tl.float32)
    for start in range(first, clear, BLOCK_N):
        total, top, norm = _add_tile(
            total, top, norm, q, K, V, table, start, limit, stop, column, True, False,
            SCALE, D, PAGE, KV_HEADS, INPUT_PRECISION, BLOCK_N, BLOCK_D,
        )  # fmt: skip
    for start in range(clear, stop, BLOCK_N):
        total, top, norm = _add_tile(
            total, top, norm, q, K, V, table, start, limit, stop, column, False, MASKED,
            SCALE, D, PAGE, KV_HEADS, INPUT_PRECISION, BLOCK_N, BLOCK_D,
        )  # fmt: skip
    if q.shape[0] >= 16:
        unexplained = (total != total) & (norm == norm)[:, None]
        if tl.max(tl.max(unexplained.to(tl.int32), 1), 0) != 0:
            total, top, norm = _attend_exactly(
                q, K, V, table, first, stop, limit, column, SCALE, D, PAGE, KV_HEADS, BLOCK_D
            )
    return total, top, norm
