"""The TensorIR GEMM for CUDA: blocks over padded tiles, and the schedule that maps them to a GPU.

Two programs share the blocks that fetch tiles of A and B into shared memory. On CUDA cores the sum is one
block over (tile, virtual thread, thread, element); on tensor cores its innermost 16 x 16 x 16 are one wmma
operation.
Sizes are the workload's, known to the compiler; what lies outside is fetched as zero and never stored.
Nothing here imports TVM until a program is made.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tuner.core.integers import ceildiv
from tuner.schedules.scheduled import Choices

# Types of the operands, of sums, and of C, bias and D.
_TYPES = {"f32": ("float32", "float32", "float32"), "f16": ("float16", "float32", "float16"),
          "bf16": ("bfloat16", "float32", "bfloat16"), "int8": ("int8", "int32", "int32")}  # fmt: skip
EDGE = 16  # of a wmma fragment


@dataclass(frozen=True)
class Program(Choices):
    """A workload and a configuration, as plain values.

    Attributes:
        sizes: `m`, `n`, `k`, `batch`, the options of the operator, `dtype`.
        config: parameters of the kernels in `tensorir_cuda`, and `TENSOR`: which of the two.
    """

    @cached_property
    def tiles(self) -> tuple[int, int, int]:
        """Tiles along m, n and k."""
        return ceildiv(self.m, self.BM), ceildiv(self.n, self.BN), ceildiv(self.k, self.BK)

    @cached_property
    def threads(self) -> int:
        """Of a block."""
        if self.TENSOR:
            return (self.BM // self.WM) * (self.BN // self.WN) * 32
        return (self.BM // self.TM) * (self.BN // self.TN)

    def vector(self, operand: str) -> int:
        """Elements of one load of `A` or `B` from global memory."""
        return int(self.VECTOR)

    def _inside(self, index: str, size: int) -> str:
        # In this form the condition is the same for all elements of a vector, and vector loads remain.
        vector = self.VECTOR
        if size % vector == 0 and vector > 1:
            return f"{index} // {vector} < {size // vector}"
        return f"{index} < {size}"

    def _fetch(self, name: str, outer: str, tiles: int, block: int, size: int, contiguous: bool) -> str:
        """The block that brings a tile; `contiguous`: neighbours along k are neighbours in memory."""
        deep = self.tiles[2] * self.BK
        order = [outer, "p"] if contiguous else ["p", outer]
        extent = {outer: tiles * block, "p": deep}
        inside = f"{self._inside('v' + outer, size)} and {self._inside('vp', self.k)}"
        batch = "vb, " if self.batch > 1 else ""
        place = ", ".join("v" + axis for axis in order)
        narrow = _TYPES[self.dtype][0]
        return f"""
        for b, {order[0]}, {order[1]} in T.grid({self.batch}, {extent[order[0]]}, {extent[order[1]]}):
            with T.sblock("{name}_tile"):
                vb, v{order[0]}, v{order[1]} = T.axis.remap("SSS", [b, {order[0]}, {order[1]}])
                {name}_t[vb, {place}] = T.if_then_else({inside}, {name}[{batch}{place}], T.{narrow}(0))"""

    def _result(self, row: str, col: str, total: str) -> str:
        """The statement that stores one element; its condition goes before (`T.where` would be lost)."""
        _, wide, out = _TYPES[self.dtype]
        literal = (lambda v: f"T.{wide}({int(v)})") if wide == "int32" else (lambda v: f"T.{wide}({v!r})")
        batch = "vb, " if self.batch > 1 else ""
        value = total if self.alpha == 1 else f"{literal(self.alpha)} * {total}"
        if self.beta != 0:
            value += f" + {literal(self.beta)} * T.Cast('{wide}', C[{batch}{row}, {col}])"
        if self.bias:
            value += f" + T.Cast('{wide}', bias[{col}])"
        if self.relu:
            # In this order a NaN stays a NaN.
            value = f"T.Select({value} < {literal(0)}, {literal(0)}, {value})"
        return f"D[{batch}{row}, {col}] = T.Cast('{out}', {value})"

    @cached_property
    def script(self) -> str:
        """The program before scheduling, as TVMScript."""
        narrow, wide, out = _TYPES[self.dtype]
        lead = f"{self.batch}, " if self.batch > 1 else ""
        a_k, b_k = not self.trans_a, bool(self.trans_b)
        shape_a = f"{self.m}, {self.k}" if a_k else f"{self.k}, {self.m}"
        shape_b = f"{self.n}, {self.k}" if b_k else f"{self.k}, {self.n}"
        tiles_m, tiles_n, tiles_k = self.tiles
        deep, rows, cols = tiles_k * self.BK, tiles_m * self.BM, tiles_n * self.BN
        padded_a = f"{rows}, {deep}" if a_k else f"{deep}, {rows}"
        padded_b = f"{cols}, {deep}" if b_k else f"{deep}, {cols}"
        arguments = [
            f'A: T.Buffer(({lead}{shape_a}), "{narrow}")',
            f'B: T.Buffer(({lead}{shape_b}), "{narrow}")',
        ]
        if self.beta != 0:
            arguments.append(f'C: T.Buffer(({lead}{self.m}, {self.n}), "{out}")')
        if self.bias:
            arguments.append(f'bias: T.Buffer(({self.n},), "{out}")')
        arguments.append(f'D: T.Buffer(({lead}{self.m}, {self.n}), "{out}")')
        body = self._tensor_body if self.TENSOR else self._thread_body
        return f"""
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main({", ".join(arguments)}):
        T.func_attr({{"global_symbol": "main", "tirx.noalias": True}})
        A_t = T.sblock_alloc_buffer(({self.batch}, {padded_a}), "{narrow}", scope="shared")
        B_t = T.sblock_alloc_buffer(({self.batch}, {padded_b}), "{narrow}", scope="shared")
{self._fetch("A", "r", tiles_m, self.BM, self.m, a_k)}
{self._fetch("B", "c", tiles_n, self.BN, self.n, b_k)}
{body(wide, "vb, vr, vp" if a_k else "vb, vp, vr", "vb, vc, vp" if b_k else "vb, vp, vc")}
"""

    def _thread_body(self, wide: str, a_at: str, b_at: str) -> str:
        tiles_m, tiles_n, tiles_k = self.tiles
        rows, cols, deep = tiles_m * self.BM, tiles_n * self.BN, tiles_k * self.BK
        return f"""
        S = T.sblock_alloc_buffer(({self.batch}, {rows}, {cols}), "{wide}", scope="local")
        for b, r, c, p in T.grid({self.batch}, {rows}, {cols}, {deep}):
            with T.sblock("sum"):
                vb, vr, vc, vp = T.axis.remap("SSSR", [b, r, c, p])
                with T.init():
                    S[vb, vr, vc] = T.{wide}(0)
                S[vb, vr, vc] = S[vb, vr, vc] + T.Cast("{wide}", A_t[{a_at}]) * T.Cast("{wide}", B_t[{b_at}])
        for b, r, c in T.grid({self.batch}, {rows}, {cols}):
            with T.sblock("store"):
                vb, vr, vc = T.axis.remap("SSS", [b, r, c])
                if vr < {self.m} and vc < {self.n}:
                    {self._result("vr", "vc", "S[vb, vr, vc]")}"""

    def _tensor_body(self, wide: str, a_at: str, b_at: str) -> str:
        # Sums lie as [tile, warp, fragment, 16, 16]: a fragment is a piece of its own in shared memory.
        tiles_m, tiles_n, tiles_k = self.tiles
        warps = self.BM // self.WM, self.BN // self.WN
        parts = self.WM // EDGE, self.WN // EDGE
        grid = ", ".join(map(str, (self.batch, tiles_m, tiles_n, *warps, *parts, EDGE, EDGE)))
        axes = "vb, tm, tn, wm, wn, fm, fn, i, j"
        loops = "b, tm_, tn_, wm_, wn_, fm_, fn_, i_, j_"
        row = f"((tm * {warps[0]} + wm) * {parts[0]} + fm) * {EDGE} + i"
        col = f"((tn * {warps[1]} + wn) * {parts[1]} + fn) * {EDGE} + j"
        a_at = a_at.replace("vr", row)
        b_at = b_at.replace("vc", col)
        return f"""
        S = T.sblock_alloc_buffer(({grid}), "{wide}", scope="shared")
        for {loops}, p in T.grid({grid}, {tiles_k * self.BK}):
            with T.sblock("sum"):
                {axes}, vp = T.axis.remap("SSSSSSSSSR", [{loops}, p])
                with T.init():
                    S[{axes}] = T.{wide}(0)
                S[{axes}] = S[{axes}] + T.Cast("{wide}", A_t[{a_at}]) * T.Cast("{wide}", B_t[{b_at}])
        for {loops} in T.grid({grid}):
            with T.sblock("store"):
                {axes} = T.axis.remap("SSSSSSSSS", [{loops}])
                if {row} < {self.m} and {col} < {self.n}:
                    {self._result(row, col, f"S[{axes}]")}"""


def fetch(made: Any, program: Program, around: Any, lanes: list[tuple[str, int]]) -> None:
    """Brings the tiles of A and B in under a loop, vectors of elements by all threads.

    With DOUBLE_BUFFER a thread reads its part of the next tile into registers before the block computes, and
    writes it to the other half of shared memory after: the software pipeline's order.
    """
    for name in ("A_tile", "B_tile"):
        block = made.get_sblock(name)
        made.compute_at(block, around, preserve_unit_loops=True)
        split = made.split(
            made.fuse(*made.get_loops(block)[-2:]),
            [None, *(size for _, size in lanes), program.vector(name[0])],
        )
        for loop, (axis, _) in zip(split[1:-1], lanes, strict=True):
            made.bind(loop, axis)
        made.vectorize(split[-1])
        if not program.DOUBLE_BUFFER:  # the pass that adds the registers wants a plain loop; NVRTC unrolls it
            made.unroll(split[0])
        if program.PAD:
            # 16 bytes after every row: rows then start in different banks.
            elements = 16 // {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}[_TYPES[program.dtype][0]]
            made.storage_align(block, 0, 1, 2 * elements, elements)
        if program.DOUBLE_BUFFER:
            made.annotate(block, "tirx.manifest_shared_memory_local_stage", 1)
    if program.DOUBLE_BUFFER:
        # In the loop stand: A to registers, to shared memory, B likewise, the computation. Their order: the
        # next round's reads, this round's computation, the next round's writes.
        made.annotate(around, "software_pipeline_stage", [0, 0, 0, 0, 1])
        made.annotate(around, "software_pipeline_order", [0, 3, 1, 4, 2])
