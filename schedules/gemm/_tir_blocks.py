"""GEMM as four TensorIR blocks over tiles: pack A, pack B, multiply, write back.

A schedule moves whole tiles: it splits and reorders the loops around the blocks and decides where
packing happens. What is inside of a block is fixed here: vectors, unrolled rows, edges. All loops
over a tile are unrolled, so LLVM keeps the accumulators in registers.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from schedules.gemm._tir_pack import pack_a, pack_b
from tuner.core.workload import Workload


def ceildiv(a: int, b: int) -> int:
    """The quotient rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Tiles:
    """The sizes that blocks are made of, in elements.

    Attributes:
        mr, nr: rows and columns of the register tile; `nr` is a multiple of `lanes`.
        kc: depth of a packed panel.
        unroll: steps of k in the body of the innermost loop.
        lanes: elements of a vector.
        pack_a, pack_b: whether an operand is read from a packed copy.
        a_columns: A's panels hold column after column of `mr` elements; otherwise `mr` rows of `kc`.
    """

    mr: int
    nr: int
    kc: int
    unroll: int
    lanes: int
    pack_a: bool
    pack_b: bool
    a_columns: bool

    @property
    def row_stride(self) -> int:
        """Elements from row to row of a panel of A kept in rows.

        An odd number of cache lines of 16 elements: with rows 4 KiB apart, as at kc = 1024, all 12 of them
        would lie in one set of a 12-way L1 cache.
        """
        return (ceildiv(self.kc, 16) | 1) * 16

    @property
    def a_panel(self) -> int:
        """Elements of a packed panel of A."""
        return self.mr * (self.kc if self.a_columns else self.row_stride)

    @property
    def b_panel(self) -> int:
        """Elements of a packed panel of B."""
        return self.kc * self.nr


class Program:
    """The TensorIR module of a workload: blocks `pack_a`, `pack_b`, `multiply` and `write`, unscheduled.

    Args:
        workload: any GEMM in f32.
        tiles: what the blocks are made of. An operand that is not packed must have no ragged tile.
    """

    def __init__(self, workload: Workload, tiles: Tiles) -> None:
        from tvm.script.ir_builder import IRBuilder
        from tvm.script.ir_builder import tirx as T

        self.T, self.named = T, IRBuilder.name
        self.t, self.workload = tiles, workload
        self.m, self.n, self.k = workload["m"], workload["n"], workload["k"]
        self.batch = int(workload.option("batch", 1))
        self.trans_a, self.trans_b = workload.option("trans_a", False), workload.option("trans_b", False)
        self.mt, self.nt = ceildiv(self.m, tiles.mr), ceildiv(self.n, tiles.nr)
        self.ko = ceildiv(self.k, tiles.kc)

    def module(self) -> Any:
        """The module; its function is `main`, its parameters are the tensors of the operator's signature."""
        import tvm
        from tvm.script.ir_builder import IRBuilder

        T, t = self.T, self.t
        with IRBuilder() as builder:
            with T.prim_func(s_tir=True):
                T.func_name("main")
                T.func_attr({"tirx.noalias": True})
                self._parameters()
                with T.sblock("root"):
                    T.reads()
                    T.writes()
                    self.a_packed = self._buffer("A_packed", (self.batch, self.mt, self.ko * t.a_panel))
                    self.b_packed = self._buffer("B_packed", (self.batch, self.nt, self.ko * t.b_panel))
                    shape = (self.batch, self.ko, self.mt * t.mr, self.nt * t.nr)
                    self.acc = self._buffer("acc", shape, "local")
                    if t.pack_a:
                        pack_a(self)
                    if t.pack_b:
                        pack_b(self)
                    self._multiply()
                    self._write()
            function = builder.get().with_attr("global_symbol", "main")
        return tvm.IRModule({"main": function})

    # --- small parts ------------------------------------------------------------------------------------

    def _parameters(self) -> None:
        lead = () if self.batch == 1 else (self.batch,)
        m, n, k, w = self.m, self.n, self.k, self.workload
        shapes = {"A": (*lead, k, m) if self.trans_a else (*lead, m, k)}
        shapes["B"] = (*lead, n, k) if self.trans_b else (*lead, k, n)
        if w.option("beta", 0.0) != 0:
            shapes["C"] = (*lead, m, n)
        if w.option("bias", False):
            shapes["bias"] = (n,)
        shapes["D"] = (*lead, m, n)
        # NumPy aligns to 16 bytes and views to 4: no vector load may assume more.
        self.tensors = {
            name: self.T.arg(name, self.T.buffer(shape, "float32", align=4)) for name, shape in shapes.items()
        }

    def _buffer(self, name: str, shape: tuple[int, ...], scope: str = "global") -> Any:
        buffer = self.T.sblock_alloc_buffer(shape, "float32", scope=scope)
        self.named(name, buffer)
        return buffer

    @contextmanager
    def block(self, name: str, **axes: int) -> Iterator[list[Any]]:
        """A block in a loop nest of its own; an axis whose name is in capitals is a reduction."""
        T = self.T
        with ExitStack() as stack:
            loops = list(stack.enter_context(T.grid(*axes.values())))
            stack.enter_context(T.sblock(name))
            bound = []
            for (axis, extent), loop in zip(axes.items(), loops, strict=True):
                self.named(axis.lower(), loop)
                variable = (T.axis.reduce if axis.isupper() else T.axis.spatial)(extent, loop)
                self.named("v" + axis.lower(), variable)
                bound.append(variable)
            yield bound

    def _at(self, name: str, b: Any, i: Any, j: Any) -> Any:
        indices = (i, j) if self.batch == 1 else (b, i, j)
        return self.tensors[name][indices]

    def a(self, b: Any, i: Any, kk: Any) -> Any:
        return self._at("A", b, kk, i) if self.trans_a else self._at("A", b, i, kk)

    def b(self, b: Any, kk: Any, j: Any) -> Any:
        return self._at("B", b, j, kk) if self.trans_b else self._at("B", b, kk, j)

    def region(self, name: str, b: Any, rows: slice, columns: slice) -> Any:
        return self._at(name, b, rows, columns)

    def depth(self, vk: Any) -> Any:
        """Steps of k in panel `vk`: `kc`, less in the last one of a ragged k."""
        kc = self.t.kc
        return kc if self.k % kc == 0 else self.T.min(kc, self.k - vk * kc)

    def _vectors(self, body: Callable[[Any, Any], None]) -> None:
        """Runs `body(r, j)` over a register tile: rows and vectors unrolled, lanes vectorized."""
        T, t = self.T, self.t
        with T.unroll(0, t.mr) as r, T.unroll(0, t.nr // t.lanes) as v, T.vectorized(0, t.lanes) as lane:
            body(r, v * t.lanes + lane)

    def either(self, whole: Any, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """`then` where `whole` holds, which may be known already; else `otherwise`."""
        if whole is True:
            then()
            return
        with self.T.If(whole):
            with self.T.Then():
                then()
            with self.T.Else():
                otherwise()

    # --- the blocks ---------------------------------------------------------------------------------------

    def a_index(self, b: Any, vk: Any, vm: Any, kk: Any, r: Any) -> list[Any]:
        inner = kk * self.t.mr + r if self.t.a_columns else r * self.t.row_stride + kk
        return [b, vm, vk * self.t.a_panel + inner]

    def b_index(self, b: Any, vk: Any, vn: Any, kk: Any, j: Any) -> list[Any]:
        return [b, vn, vk * self.t.b_panel + kk * self.t.nr + j]

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
        T, t, w = self.T, self.t, self.workload
        pieces = {"K" if self.ko > 1 else "k": self.ko}
        with self.block("write", **pieces, b=self.batch, m=self.mt, n=self.nt) as (vk, vb, vm, vn):
            i0, j0 = vm * t.mr, vn * t.nr
            rows, columns = slice(i0, i0 + t.mr), slice(j0, j0 + t.nr)
            read = [self.acc[vb, vk, rows, columns]]
            read += [self.region("C", vb, rows, columns)] if "C" in self.tensors else []
            read += [self.tensors["bias"][columns]] if "bias" in self.tensors else []
            T.reads(*read)
            T.writes(self.region("D", vb, rows, columns))
            alpha, beta = T.float32(w.option("alpha", 1.0)), T.float32(w.option("beta", 0.0))

            def addends(i: Any, j: Any) -> Any:
                value = None
                if "C" in self.tensors:
                    value = self._at("C", vb, i, j)
                    value = value if w.option("beta", 0.0) == 1 else beta * value
                if "bias" in self.tensors:
                    value = self.tensors["bias"][j] if value is None else value + self.tensors["bias"][j]
                return value

            def store(i: Any, j: Any, value: Any) -> None:
                T.buffer_store(self.tensors["D"], value, [i, j] if self.batch == 1 else [vb, i, j])

            def begin(i: Any, j: Any) -> None:
                value = addends(i, j)
                store(i, j, T.float32(0) if value is None else value)

            def finish(i: Any, j: Any, total: Any) -> None:
                value = total if w.option("alpha", 1.0) == 1 else alpha * total
                before = self._at("D", vb, i, j) if self.ko > 1 else addends(i, j)
                value = value if before is None else before + value
                if w.option("relu", False):
                    clipped = T.max(value, T.float32(0))
                    value = clipped if self.ko == 1 else T.Select(vk == self.ko - 1, clipped, value)
                store(i, j, value)

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

            edge = None if whole is True else self._buffer("edge", (t.mr, t.nr), "local")
            self.either(
                whole, lambda: self._vectors(lambda r, j: finish(i0 + r, j0 + j, acc(r, j))), edge_tile
            )
