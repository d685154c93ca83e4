"""The packing blocks of the TensorIR GEMM: panels in the order in which the multiplication reads them.

Lines of a panel beyond the matrix are zeros: they are multiplied like the others, and what happens to
lie in memory could be denormal, which some processors multiply a hundred times slower.
"""

from collections.abc import Callable
from typing import Any

from tuner.schedules.gemm.tensorir.tiles import TiledFunction

# Steps of k that a transposing copy takes from one line before it turns to the next: one cache line. Lines
# 4 KiB apart share a set of the L1 cache, so going across them step by step would miss every time.
_BLOCK = 16

Move = Callable[[Any, Any], None]
"""Moves the element of a step of k and a line of the panel."""
Loop = Callable[[Callable[[Any], None]], None]
"""Runs a body for steps of k."""
Valid = Callable[[Any], Any] | None
"""Whether a line is one of the matrix; `None` where all are."""


def pack_a(p: TiledFunction) -> None:
    """Block `pack_a`: panels of `mr` rows of A, as rows or as columns."""
    T, t = p.T, p.t
    with p.block("pack_a", b=p.batch, k=p.ko, m=p.mt) as (vb, vk, vm):
        i0, k0 = vm * t.mr, vk * t.kc
        rows, columns = slice(i0, i0 + t.mr), slice(k0, k0 + t.kc)
        T.reads(p.region("A", vb, *((columns, rows) if p.trans_a else (rows, columns))))
        T.writes(p.a_packed[vb, vm, vk * t.a_panel : vk * t.a_panel + t.a_panel])

        def copy(kk: Any, r: Any) -> None:
            T.buffer_store(p.a_packed, p.a(vb, i0 + r, k0 + kk), p.a_index(vb, vk, vm, kk, r))

        def zero(kk: Any, r: Any) -> None:
            T.buffer_store(p.a_packed, T.float32(0), p.a_index(vb, vk, vm, kk, r))

        valid = None if p.m % t.mr == 0 else lambda r: i0 + r < p.m
        if p.trans_a:
            whole = p.m % t.mr == 0 or i0 + t.mr <= p.m
            _step_by_step(p, p.depth(vk), t.mr, 1, whole, valid, copy, zero)
        elif t.a_columns:
            _transposing(p, p.depth(vk), t.mr, valid, copy, zero)
        else:
            _line_by_line(p, p.depth(vk), t.mr, valid, copy, zero)


def pack_b(p: TiledFunction) -> None:
    """Block `pack_b`: panels of `nr` columns of B, step after step."""
    T, t = p.T, p.t
    with p.block("pack_b", b=p.batch, k=p.ko, n=p.nt) as (vb, vk, vn):
        j0, k0 = vn * t.nr, vk * t.kc
        rows, columns = slice(k0, k0 + t.kc), slice(j0, j0 + t.nr)
        T.reads(p.region("B", vb, *((columns, rows) if p.trans_b else (rows, columns))))
        T.writes(p.b_packed[vb, vn, vk * t.b_panel : vk * t.b_panel + t.b_panel])

        def copy(kk: Any, j: Any) -> None:
            T.buffer_store(p.b_packed, p.b(vb, k0 + kk, j0 + j), p.b_index(vb, vk, vn, kk, j))

        def zero(kk: Any, j: Any) -> None:
            T.buffer_store(p.b_packed, T.float32(0), p.b_index(vb, vk, vn, kk, j))

        valid = None if p.n % t.nr == 0 else lambda j: j0 + j < p.n
        if p.trans_b:
            _transposing(p, p.depth(vk), t.nr, valid, copy, zero)
        else:
            whole = p.n % t.nr == 0 or j0 + t.nr <= p.n
            _step_by_step(p, p.depth(vk), t.nr, t.lanes, whole, valid, copy, zero)


def _copy_line(p: TiledFunction, over: Loop, line: Any, valid: Valid, copy: Move, zero: Move) -> None:
    """Copies a line that is one of the matrix, zeros another: decided once, outside of the loop over k."""
    if valid is None:
        over(lambda kk: copy(kk, line))
    else:
        p.either(
            valid(line), lambda: over(lambda kk: copy(kk, line)), lambda: over(lambda kk: zero(kk, line))
        )


def _line_by_line(p: TiledFunction, depth: Any, lines: int, valid: Valid, copy: Move, zero: Move) -> None:
    """Both sides are contiguous along k: in vectors where k allows it."""
    T, lanes = p.T, p.t.lanes

    def over(body: Callable[[Any], None]) -> None:
        if isinstance(depth, int) and depth % lanes == 0:
            with T.serial(0, depth // lanes) as v, T.vectorized(0, lanes) as lane:
                body(v * lanes + lane)
        else:
            with T.serial(0, depth) as kk:
                body(kk)

    with T.serial(0, lines) as line:
        _copy_line(p, over, line, valid, copy, zero)


def _transposing(p: TiledFunction, depth: Any, lines: int, valid: Valid, copy: Move, zero: Move) -> None:
    """The source is contiguous along k, the panel across it."""
    T = p.T
    blocks = depth // _BLOCK
    rest = depth - blocks * _BLOCK

    def block_steps(body: Callable[[Any], None]) -> None:
        with T.unroll(0, _BLOCK) as kk:
            body(block * _BLOCK + kk)

    def last_steps(body: Callable[[Any], None]) -> None:
        with T.serial(0, rest) as kk:
            body(blocks * _BLOCK + kk)

    with T.serial(0, blocks) as block, T.serial(0, lines) as line:
        _copy_line(p, block_steps, line, valid, copy, zero)
    if not isinstance(rest, int) or rest:
        with T.serial(0, lines) as line:
            _copy_line(p, last_steps, line, valid, copy, zero)


def _step_by_step(
    p: TiledFunction, depth: Any, lines: int, lanes: int, whole: Any, valid: Valid, copy: Move, zero: Move
) -> None:
    """Both sides are contiguous across k: a whole panel is copied in vectors, one at the edge by elements."""
    T = p.T

    def straight() -> None:
        with T.serial(0, depth) as kk, T.unroll(0, lines // lanes) as v:
            if lanes == 1:
                copy(kk, v)
            else:
                with T.vectorized(0, lanes) as lane:
                    copy(kk, v * lanes + lane)

    def edge() -> None:
        assert valid is not None, "without an edge every panel is whole"
        with T.serial(0, depth) as kk, T.serial(0, lines) as line:
            p.either(valid(line), lambda: copy(kk, line), lambda: zero(kk, line))

    p.either(whole, straight, edge)
