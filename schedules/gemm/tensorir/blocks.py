"""GEMM as four TensorIR blocks over tiles: pack A, pack B, multiply, write back.

A schedule moves whole tiles: it splits and reorders the loops around the blocks and decides where
packing happens. What is inside of a block is fixed here: vectors, unrolled rows, edges. All loops
over a tile are unrolled, so LLVM keeps the accumulators in registers.
"""

from collections.abc import Callable
from typing import Any

from tuner.schedules.gemm.tensorir.pack import pack_a, pack_b
from tuner.schedules.gemm.tensorir.tiles import TiledFunction


class Program(TiledFunction):
    """The blocks `pack_a`, `pack_b`, `multiply` and `write`, unscheduled.

    Args:
        workload: any GEMM in f32.
        tiles: what the blocks are made of. An operand that is not packed must have no ragged tile.
    """

    def body(self) -> None:
        """Packs, multiplies, writes back."""
        t = self.t
        self.a_packed = self.buffer("A_packed", (self.batch, self.mt, self.ko * t.a_panel))
        self.b_packed = self.buffer("B_packed", (self.batch, self.nt, self.ko * t.b_panel))
        self.acc = self.buffer("acc", (self.batch, self.ko, self.mt * t.mr, self.nt * t.nr), "local")
        if t.pack_a:
            pack_a(self)
        if t.pack_b:
            pack_b(self)
        self._multiply()
        self._write()

    def _vectors(self, body: Callable[[Any, Any], None]) -> None:
        """Runs `body(r, j)` over a register tile: rows and vectors unrolled, lanes vectorized."""
        T, t = self.T, self.t
        with T.unroll(0, t.mr) as r, T.unroll(0, t.nr // t.lanes) as v, T.vectorized(0, t.lanes) as lane:
            body(r, v * t.lanes + lane)

    # --- the blocks ---------------------------------------------------------------------------------------

    def _multiply(self) -> None:
        """acc = A panel times B panel: one register tile."""
        T, t = self.T, self.t
        axes = {"b": self.batch, "k": self.ko, "m": self.mt, "n": self.nt}
        with self.block("multiply", **axes) as (vb, vk, vm, vn):
            i0, j0, k0 = vm * t.mr, vn * t.nr, vk * t.kc
            rows, columns, depths = slice(i0, i0 + t.mr), slice(j0, j0 + t.nr), slice(k0, k0 + t.kc)
            direct_a = (depths, rows) if self.trans_a else (rows, depths)
            T.reads(
                self.a_packed[vb, vm, vk * t.a_panel : vk * t.a_panel + t.a_panel]
                if t.pack_a
                else self.region("A", vb, *direct_a),
                self.b_packed[vb, vn, vk * t.b_panel : vk * t.b_panel + t.b_panel]
                if t.pack_b
                else self.region("B", vb, depths, columns),
            )
            T.writes(self.acc[vb, vk, rows, columns])

            def clear(r: Any, j: Any) -> None:
                T.buffer_store(self.acc, T.float32(0), [vb, vk, i0 + r, j0 + j])

            def step(kk: Any) -> None:
                def add(r: Any, j: Any) -> None:
                    a = self.a_packed[tuple(self.a_index(vb, vk, vm, kk, r))] if t.pack_a else None
                    b = self.b_packed[tuple(self.b_index(vb, vk, vn, kk, j))] if t.pack_b else None
                    a = self.a(vb, i0 + r, k0 + kk) if a is None else a
                    b = self.b(vb, k0 + kk, j0 + j) if b is None else b
                    here = self.acc[vb, vk, i0 + r, j0 + j]
                    T.buffer_store(self.acc, here + a * b, [vb, vk, i0 + r, j0 + j])

                self._vectors(add)

            self._vectors(clear)
            depth, u = self.depth(vk), t.unroll
            if u == 1:
                with T.serial(0, depth) as kk:
                    step(kk)
                return
            rounds = depth // u
            with T.serial(0, rounds) as kk, T.unroll(0, u) as within:
                step(kk * u + within)
            if not isinstance(depth, int) or depth % u:
                with T.serial(0, depth - rounds * u) as kk:
                    step(rounds * u + kk)

    def _write(self) -> None:
        """D = act(alpha * acc + beta * C + bias), where k is cut in pieces as a sum over them.

        The addends are the block's initial value, so D is written once a piece and never cleared.
        """
        T, t = self.T, self.t
        pieces = {"K" if self.ko > 1 else "k": self.ko}
        with self.block("write", **pieces, b=self.batch, m=self.mt, n=self.nt) as (vk, vb, vm, vn):
            i0, j0 = vm * t.mr, vn * t.nr
            rows, columns = slice(i0, i0 + t.mr), slice(j0, j0 + t.nr)
            read = [self.acc[vb, vk, rows, columns]]
            read += [self.region("C", vb, rows, columns)] if "C" in self.tensors else []
            read += [self.tensors["bias"][columns]] if "bias" in self.tensors else []
            T.reads(*read)
            T.writes(self.region("D", vb, rows, columns))

            def begin(i: Any, j: Any) -> None:
                value = self.addends(vb, i, j)
                self.store(vb, i, j, T.float32(0) if value is None else value)

            def finish(i: Any, j: Any, total: Any) -> None:
                before = self.at("D", vb, i, j) if self.ko > 1 else self.addends(vb, i, j)
                value = self.scaled(total) if before is None else before + self.scaled(total)
                if self.workload.option("relu", False):
                    clipped = self.relu(value)
                    value = clipped if self.ko == 1 else T.Select(vk == self.ko - 1, clipped, value)
                self.store(vb, i, j, value)

            whole_m = self.m % t.mr == 0 or i0 + t.mr <= self.m
            whole_n = self.n % t.nr == 0 or j0 + t.nr <= self.n
            whole = whole_m if whole_n is True else whole_n if whole_m is True else T.And(whole_m, whole_n)

            def over_edge(body: Callable[[Any, Any], None]) -> None:
                with T.serial(0, T.min(t.mr, self.m - i0)) as r, T.serial(0, T.min(t.nr, self.n - j0)) as j:
                    body(r, j)

            if self.ko > 1:
                with T.init():
                    self.either(
                        whole,
                        lambda: self._vectors(lambda r, j: begin(i0 + r, j0 + j)),
                        lambda: over_edge(lambda r, j: begin(i0 + r, j0 + j)),
                    )

            def edge_tile() -> None:
                # The accumulators cannot be indexed by a variable while they are registers: through memory.
                self._vectors(lambda r, j: T.buffer_store(edge, acc(r, j), [r, j]))
                over_edge(lambda r, j: finish(i0 + r, j0 + j, edge[r, j]))

            def acc(r: Any, j: Any) -> Any:
                return self.acc[vb, vk, i0 + r, j0 + j]

            edge: Any = None if whole is True else self.buffer("edge", (t.mr, t.nr), "local")
            self.either(
                whole, lambda: self._vectors(lambda r, j: finish(i0 + r, j0 + j, acc(r, j))), edge_tile
            )
