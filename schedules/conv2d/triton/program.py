"""The Triton convolution itself: imported by the builder and by the interpreter, never by the registry.

The convolution is a product of matrices that are nowhere in memory (implicit GEMM; Chetlur et al., cuDNN:
Efficient primitives for deep learning, 2014): rows are output pixels, columns the output channels of a
group, and the depth runs over channels and taps. All sizes are compile-time constants, so that the divisions
that find a pixel become multiplications.
"""

import triton
import triton.language as tl

from tuner.schedules.triton_activations import activated
from tuner.schedules.triton_sums import add_product

# Adding 1.5 * 2^23 to an f32 of less than 2^22 in size leaves no bits behind the point: the sum is rounded to
# the nearest integer, ties to even.
_ROUNDER = tl.constexpr(12582912.0)


@triton.jit
def _gather(
    X, corner, row_inside, top, left, channel, tap, depth_inside,
    H: tl.constexpr, WIDTH: tl.constexpr, S: tl.constexpr, DILATION: tl.constexpr, X_ROW: tl.constexpr,
    X_COLUMN: tl.constexpr, X_CHANNEL: tl.constexpr,
):  # fmt: skip
    """A tile of the image [rows, depth]: zero in the padding and beyond the last row or the depth's end.

    `corner`, `top`, `left` [rows, 1] are where a pixel's window begins; `channel` and `tap` say which element
    of the window, either [1, depth] or one for the whole tile.
    """
    down, across = tap // S * DILATION, tap % S * DILATION
    y, x = top + down, left + across
    inside = row_inside & depth_inside & (y >= 0) & (y < H) & (x >= 0) & (x < WIDTH)
    place = corner + down * X_ROW + across * X_COLUMN + channel * X_CHANNEL
    return tl.load(X + place, mask=inside, other=0)


@triton.jit
def _finish(
    total, bias, residual, scale, Y, place, channel, inside, inside_channel,
    HAS_BIAS: tl.constexpr, RESIDUAL: tl.constexpr, ACTIVATION: tl.constexpr, SCALE: tl.constexpr,
):  # fmt: skip
    """Bias, residual, activation (a name, or nothing), scale (0: none, 1: one for the tensor, 2: one a
    channel), and the store."""
    value = total
    if HAS_BIAS:
        value += tl.load(bias + channel, mask=inside_channel, other=0).to(total.dtype)[None, :]
    if RESIDUAL:
        value += tl.load(residual + place, mask=inside, other=0).to(total.dtype)
    value = activated(value, ACTIVATION)
    if SCALE != 0:
        factor = tl.load(scale + (channel if SCALE == 2 else channel * 0), mask=inside_channel, other=0)
        value = value.to(tl.float32) * factor[None, :]
        # Clamped before it is rounded, which is the same for integer bounds.
        value = tl.minimum(tl.maximum(value, -128.0), 127.0)
        value = (value + _ROUNDER) - _ROUNDER
    tl.store(Y + place, value.to(Y.dtype.element_ty), mask=inside)


@triton.jit
def _sums(
    X, filters, corner, row_inside, col_inside, top, left, share,
    INNER: tl.constexpr, TAPS: tl.constexpr, H: tl.constexpr, WIDTH: tl.constexpr, S: tl.constexpr,
    DILATION: tl.constexpr, X_ROW: tl.constexpr, X_COLUMN: tl.constexpr, X_CHANNEL: tl.constexpr,
    NHWC: tl.constexpr, INTEGER: tl.constexpr, DEPTH: tl.constexpr, INPUT_PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, SPLIT_K: tl.constexpr,
):  # fmt: skip
    """Sums [BLOCK_M, BLOCK_N] over a share of the depth: share s has the pieces s, s + SPLIT_K, ..."""
    kind: tl.constexpr = tl.int32 if INTEGER else tl.float32
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=kind)
    step = tl.arange(0, BLOCK_K)
    if DEPTH == "taps":
        BLOCKS: tl.constexpr = (INNER + BLOCK_K - 1) // BLOCK_K
        for piece in range(share, TAPS * BLOCKS, SPLIT_K):
            tap = piece // BLOCKS
            channel = piece % BLOCKS * BLOCK_K + step
            inside = channel < INNER
            a = _gather(X, corner, row_inside, top, left, channel[None, :], tap, inside[None, :],
                        H, WIDTH, S, DILATION, X_ROW, X_COLUMN, X_CHANNEL)  # fmt: skip
            at = tap * INNER + channel if NHWC else channel * TAPS + tap
            b = tl.load(filters + at[:, None], mask=col_inside & inside[:, None], other=0)
            total = add_product(total, a, b, INPUT_PRECISION)
    else:
        for piece in range(share, (INNER * TAPS + BLOCK_K - 1) // BLOCK_K, SPLIT_K):
            at = piece * BLOCK_K + step
            inside = at < INNER * TAPS
            tap = at // INNER if NHWC else at % TAPS
            channel = at % INNER if NHWC else at // TAPS
            a = _gather(X, corner, row_inside, top, left, channel[None, :], tap[None, :], inside[None, :],
                        H, WIDTH, S, DILATION, X_ROW, X_COLUMN, X_CHANNEL)  # fmt: skip
            b = tl.load(filters + at[:, None], mask=col_inside & inside[:, None], other=0)
            total = add_product(total, a, b, INPUT_PRECISION)
    return total


@triton.jit
def _combine(total, partial, counter, inside, share, SIZE: tl.constexpr, SPLIT_K: tl.constexpr):
    """The sums of all shares and whether this program is the last to arrive, which alone has them.

    `partial` points at the tile's sums of the first share; those of the next lie SIZE elements further.
    """
    # 64 bits: all shares together may be more than 2^31 elements.
    tl.store(partial + share.to(tl.int64) * SIZE, total, mask=inside)
    tl.debug_barrier()  # all threads' sums are out before the count says so
    last = tl.atomic_add(counter, 1, sem="acq_rel") == SPLIT_K - 1
    if last:
        tl.debug_barrier()
        total = tl.zeros_like(total)
        for _ in range(SPLIT_K):
            # .cg: from L2, where other SMs' stores are; the first-level cache would not see them.
            total += tl.load(partial, mask=inside, other=0, cache_modifier=".cg")
            partial += SIZE
        tl.store(counter, 0)  # for the next call
    return total, last


@triton.jit
def conv2d(
    X, W, bias, residual, scale, Y, partial, arrived,
    IMAGES: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr, GROUPS: tl.constexpr, H: tl.constexpr,
    WIDTH: tl.constexpr, R: tl.constexpr, S: tl.constexpr, P: tl.constexpr, Q: tl.constexpr,
    STRIDE: tl.constexpr, DILATION: tl.constexpr, TOP: tl.constexpr, LEFT: tl.constexpr, NHWC: tl.constexpr,
    HAS_BIAS: tl.constexpr, RESIDUAL: tl.constexpr, ACTIVATION: tl.constexpr, SCALE: tl.constexpr,
    INTEGER: tl.constexpr, DEPTH: tl.constexpr, INPUT_PRECISION: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr, SPLIT_K: tl.constexpr,
):  # fmt: skip
    """Y = act(X * W + bias + residual), scaled: programs (tile, share of the depth, group).

    `DEPTH` is how the depth is cut: "taps" takes BLOCK_K channels of one tap (r, s) at a time, "flat" BLOCK_K
    elements of a filter as they lie in memory, whatever taps they belong to.

    `partial` [groups, SPLIT_K, pixels, channels of a group] and `arrived` [groups, tiles] are there where
    SPLIT_K > 1: each share leaves its sums, and the last to arrive adds them up in the order of the shares.
    """
    PIXELS: tl.constexpr = IMAGES * P * Q
    TILES_M: tl.constexpr = (PIXELS + BLOCK_M - 1) // BLOCK_M
    TILES_N: tl.constexpr = (OUTER + BLOCK_N - 1) // BLOCK_N
    X_CHANNEL: tl.constexpr = 1 if NHWC else H * WIDTH
    X_COLUMN: tl.constexpr = INNER * GROUPS if NHWC else 1
    X_ROW: tl.constexpr = WIDTH * X_COLUMN
    Y_CHANNEL: tl.constexpr = 1 if NHWC else P * Q
    Y_PIXEL: tl.constexpr = OUTER * GROUPS if NHWC else 1
    TAPS: tl.constexpr = R * S

    tile, share, group = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    # Grouped ordering: GROUP_M rows of tiles are visited column by column, so that neighbours share L2.
    first = tile // (GROUP_M * TILES_N) * GROUP_M
    rows = min(TILES_M - first, GROUP_M)
    within = tile % (GROUP_M * TILES_N)
    row = (first + within % rows) * BLOCK_M + tl.arange(0, BLOCK_M)
    col = within // rows * BLOCK_N + tl.arange(0, BLOCK_N)
    image, pixel = row // (P * Q), row % (P * Q)
    top = (pixel // Q * STRIDE - TOP)[:, None]
    left = (pixel % Q * STRIDE - LEFT)[:, None]
    row_inside = (row < PIXELS)[:, None]
    col_inside = (col < OUTER)[None, :]
    corner = image[:, None] * (GROUPS * INNER * H * WIDTH) + group * INNER * X_CHANNEL
    corner += top * X_ROW + left * X_COLUMN
    filters = W + (group * OUTER + col[None, :]) * (INNER * TAPS)

    total = _sums(
        X, filters, corner, row_inside, col_inside, top, left, share, INNER, TAPS, H, WIDTH, S, DILATION,
        X_ROW, X_COLUMN, X_CHANNEL, NHWC, INTEGER, DEPTH, INPUT_PRECISION, BLOCK_M, BLOCK_N, BLOCK_K, SPLIT_K,
    )  # fmt: skip
    inside_y = row_inside & col_inside
    last = True
    if SPLIT_K > 1:
        SIZE: tl.constexpr = PIXELS * OUTER
        own = partial + group.to(tl.int64) * SPLIT_K * SIZE + row[:, None] * OUTER + col[None, :]
        counter = arrived + group * TILES_M * TILES_N + tile
        total, last = _combine(total, own, counter, inside_y, share, SIZE, SPLIT_K)
    if last:
        channel = group * OUTER + col
        place = (
            image[:, None] * (GROUPS * OUTER * P * Q)
            + pixel[:, None] * Y_PIXEL
            + channel[None, :] * Y_CHANNEL
        )
        _finish(
            total, bias, residual, scale, Y, place, channel, inside_y, col < OUTER, HAS_BIAS, RESIDUAL,
            ACTIVATION, SCALE,
        )  # fmt: skip
