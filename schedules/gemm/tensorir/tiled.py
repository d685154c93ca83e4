"""TensorIR GEMM by the textbook: split, reorder, vectorize, unroll, parallelize; operands as they lie."""

from typing import Any

from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS
from tuner.schedules.gemm.tensorir.function import GemmFunction
from tuner.schedules.scheduled import ScheduledKernel


class TiledTensorIR(ScheduledKernel):
    """One block for the sum, one for the rest of the formula, and six schedule primitives.

    The rung below `tir_packed`: the same register tile, but nothing is packed, so a large B is read with a
    stride and every row of A from another page. A ragged edge is predicated element by element, which
    keeps its tile from being vectorized.
    """

    name = "tir_tiled"
    operator = "gemm"
    summary = "TensorIR: tiled, vectorized and parallel, nothing packed."
    dtypes = ("f32",)
    options = OPTIONS

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """The register tile, the unrolling, the order of the loops over tiles and what is parallel."""
        constants = self.constants(workload, target)
        constants.setdefault("vector_bytes", 16)
        constants.setdefault("vector_registers", 16)
        return SearchSpace(
            [
                Parameter("MR", (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14), "rows of the register tile"),
                Parameter("NR", (4, 8, 16, 24, 32, 48, 64), "its columns: whole vectors"),
                Parameter("UNROLL", (1, 2, 4, 8), "steps of k in the body of the innermost loop"),
                Parameter("OUTER", ("m", "n"), "outermost loop over tiles"),
                Parameter("PARALLEL", (False, True), "whether the outermost loop is shared by all threads"),
            ],
            [
                Constraint("whole_vectors", "NR * 4 % vector_bytes == 0"),
                # Accumulators, a row of B and one element of A.
                Constraint("registers", "(MR + 1) * (NR * 4 // vector_bytes) + 1 <= vector_registers"),
                Constraint("rows_used", "MR < 2 * m or MR == 1"),
                Constraint("columns_used", "NR < 2 * n or NR * 4 == vector_bytes"),
                Constraint("unrolled_body", "UNROLL * MR * (NR * 4 // vector_bytes) <= 128"),
                Constraint("unroll_used", "UNROLL <= k"),
                # A predicate on every lane makes scalar code with a branch an element: once is enough of it.
                Constraint("no_unrolled_edges", "n % NR == 0 or UNROLL == 1"),
            ],
            constants,
        )

    def schedule(self, workload: Workload, config: Config, target: Target) -> Any:
        """The `tvm.s_tir.Schedule` of a configuration; any configuration for any workload."""
        import tvm.s_tir

        c: dict[str, Any] = dict(config)
        lanes = int(target.limits.get("vector_bytes", 16)) // 4
        s = tvm.s_tir.Schedule(_Program(workload).module(), debug_mask="none")
        total, write = s.get_sblock("total"), s.get_sblock("write")
        b, i, j, k = s.get_loops(total)
        i_tile, i_row = s.split(i, [None, c["MR"]])
        j_tile, j_vector, j_lane = s.split(j, [None, c["NR"] // lanes, lanes])
        k_round, k_step = s.split(k, [None, c["UNROLL"] if workload["n"] % c["NR"] == 0 else 1])
        tiles = [i_tile, j_tile] if c["OUTER"] == "m" else [j_tile, i_tile]
        s.reorder(b, *tiles, k_round, k_step, i_row, j_vector, j_lane)
        # Loops of one iteration stay, so that the last two are always those over a tile.
        s.reverse_compute_at(write, tiles[1], preserve_unit_loops=True)
        write_row, write_column = s.get_loops(write)[-2:]
        write_vector, write_lane = s.split(write_column, [None, lanes])
        for loop in (k_step, i_row, j_vector, write_row, write_vector):
            s.unroll(loop)
        for loop in (j_lane, write_lane):
            s.vectorize(loop)
        outermost = s.fuse(b, tiles[0])
        if c["PARALLEL"]:
            s.parallel(outermost)
        s.decompose_reduction(total, k_round)
        return s


class _Program(GemmFunction):
    """The formula as two blocks, unscheduled: `total` sums the products, `write` does the rest."""

    def body(self) -> None:
        T, batch, m, n, k = self.T, self.batch, self.m, self.n, self.k
        total = self.buffer("total_buffer", (batch, m, n), "local")
        with self.block("total", b=batch, m=m, n=n, K=k) as (vb, vm, vn, vk):
            left, right = self.a(vb, vm, vk), self.b(vb, vk, vn)
            T.reads(left, right)
            T.writes(total[vb, vm, vn])
            with T.init():
                T.buffer_store(total, T.float32(0), [vb, vm, vn])
            T.buffer_store(total, total[vb, vm, vn] + left * right, [vb, vm, vn])
        with self.block("write", b=batch, m=m, n=n) as (vb, vm, vn):
            read = [self.at("C", vb, vm, vn)] if "C" in self.tensors else []
            read += [self.tensors["bias"][vn]] if "bias" in self.tensors else []
            T.reads(total[vb, vm, vn], *read)
            T.writes(self.at("D", vb, vm, vn))
            value, addends = self.scaled(total[vb, vm, vn]), self.addends(vb, vm, vn)
            value = value if addends is None else addends + value
            relu = self.workload.option("relu", False)
            self.store(vb, vm, vn, self.relu(value) if relu else value)
