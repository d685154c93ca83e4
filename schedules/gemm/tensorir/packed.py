"""TensorIR GEMM: register tile, three levels of blocking, packed operands, a grid of threads."""

from typing import Any

from tuner.core.integers import ceildiv
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS, largest_tensor
from tuner.schedules.gemm.tensorir.blocks import Program
from tuner.schedules.gemm.tensorir.tiles import Tiles
from tuner.schedules.library import target_threads
from tuner.schedules.scheduled import ScheduledKernel, too_large


class PackedTensorIR(ScheduledKernel):
    """A schedule of the blocks of `blocks.py`.

    D is cut into a grid of one part a thread. Within a part, loops over blocks of `MC` rows, `NC` columns
    and `KC` steps of k run in the order `ORDER`; within a block, register tiles of `MR` x `NR` are
    computed one after the other. Each operand is packed where its block begins, for one thread
    (`block`), or before everything else by all threads together (`ahead`), or not at all (`none`).

    `lower` takes every configuration for every workload: a size beyond the workload's is cut to it, and an
    operand is packed after all where reading it in place would overrun a ragged edge.
    """

    name = "tir_packed"
    operator = "gemm"
    summary = "TensorIR: register tile, cache blocks, packed operands, one part of D a thread."
    dtypes = ("f32",)
    options = OPTIONS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits."""
        # Packing pads by at most a factor of two.
        return super().unsupported(workload, target) or too_large(largest_tensor(workload))

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Register tile, blocks, order of loops, packing and the grid of threads."""
        parts = tuple(p for p in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) if p <= target_threads(target))
        constants = self.constants(workload, target)
        constants.setdefault("vector_bytes", 16)
        constants.setdefault("vector_registers", 16)
        constants["threads"] = target_threads(target)
        return SearchSpace(
            [
                Parameter("MR", (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14), "rows of the register tile"),
                Parameter("NR", (4, 8, 16, 24, 32, 48, 64), "its columns: whole vectors"),
                Parameter("UNROLL", (1, 2, 4, 8), "steps of k in the body of the innermost loop"),
                Parameter("KC", (64, 128, 192, 256, 384, 512, 768, 1024, 2048), "depth of a block"),
                Parameter("MC", (16, 32, 64, 96, 128, 192, 256, 384, 512, 1024), "rows of a block"),
                Parameter("NC", (32, 64, 128, 192, 256, 384, 512, 1024, 2048), "columns of a block"),
                Parameter(
                    "ORDER", ("nkm", "mkn", "nmk", "mnk", "knm", "kmn"), "loops over blocks, outermost first"
                ),
                Parameter("INNER", ("m", "n"), "innermost loop over tiles: m keeps a panel of B in L1"),
                Parameter("PACK_A", ("none", "block", "ahead"), "where A is packed"),
                Parameter("PACK_B", ("none", "block", "ahead"), "where B is packed"),
                Parameter("A_LAYOUT", ("rows", "columns"), "order of elements in a packed panel of A"),
                Parameter("SPLIT_M", parts, "parts of D along m, a thread each"),
                Parameter("SPLIT_N", parts, "parts of D along n, a thread each"),
            ],
            [
                Constraint("whole_vectors", "NR * 4 % vector_bytes == 0"),
                # Accumulators, a row of B and one element of A.
                Constraint("registers", "(MR + 1) * (NR * 4 // vector_bytes) + 1 <= vector_registers"),
                # Two FMA pipes of latency 4 want 8 independent sums; few rows have to do with fewer.
                Constraint("latency", "MR * (NR * 4 // vector_bytes) >= 8 or MR * 2 > m"),
                Constraint("rows_used", "MR < 2 * m or MR == 1"),
                Constraint("columns_used", "NR < 2 * n or NR * 4 == vector_bytes"),
                Constraint("unrolled_body", "UNROLL * MR * (NR * 4 // vector_bytes) <= 128"),
                # Of the values beyond the dimension only the smallest is another program.
                Constraint("depth_used", "KC * 2 <= k * 3 or KC == 64"),
                Constraint("block_rows_used", "MC * 2 <= m * 3 or MC == 16"),
                Constraint("block_columns_used", "NC * 2 <= n * 3 or NC == 32"),
                Constraint("tile_in_block", "MR <= MC and NR <= NC"),
                Constraint("whole_tiles_in_place", "(PACK_A != 'none' or m % MR == 0)"),
                Constraint("whole_columns_in_place", "PACK_B != 'none' or (n % NR == 0 and not trans_b)"),
                Constraint("layout_of_packed", "PACK_A != 'none' or A_LAYOUT == 'rows'"),
                Constraint("threads", "SPLIT_M * SPLIT_N <= threads and threads % (SPLIT_M * SPLIT_N) == 0"),
                Constraint("parts_used", "SPLIT_M <= ceildiv(m, MR) and SPLIT_N <= ceildiv(n, NR)"),
            ],
            constants,
        )

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Bytes that should stay in a cache, work a load, passes over D, and the share of padding."""
        m, n, k = workload["m"], workload["n"], workload["k"]
        c: dict[str, Any] = dict(config)
        mr, nr, kc = min(c["MR"], m), c["NR"], min(c["KC"], k)
        tiles = ceildiv(m, mr) * ceildiv(n, nr)
        parts = c["SPLIT_M"] * c["SPLIT_N"]
        most = ceildiv(ceildiv(m, mr), c["SPLIT_M"]) * ceildiv(ceildiv(n, nr), c["SPLIT_N"])
        return {
            "tile_area": mr * nr,
            "tile_intensity": mr * nr / (mr + nr),
            "panel_bytes": 4 * kc * (nr if c["INNER"] == "m" else mr),
            "a_block_bytes": 4 * kc * min(c["MC"], m),
            "b_block_bytes": 4 * kc * min(c["NC"], n),
            "passes_over_d": ceildiv(k, kc),
            "padding": tiles * mr * nr / (m * n),
            "parts": parts,
            "imbalance": most * parts / tiles,
        }

    def schedule(self, workload: Workload, config: Config, target: Target) -> Any:
        """The `tvm.s_tir.Schedule` of a configuration."""
        import tvm.s_tir

        m, n, k = workload["m"], workload["n"], workload["k"]
        c: dict[str, Any] = dict(config)
        lanes = int(target.limits.get("vector_bytes", 16)) // 4
        mr, nr = min(c["MR"], m), min(c["NR"], ceildiv(n, lanes) * lanes)
        pack_a = c["PACK_A"] != "none" or m % mr != 0
        pack_b = c["PACK_B"] != "none" or n % nr != 0 or workload.option("trans_b", False)
        tiles = Tiles(
            mr, nr, min(c["KC"], k), min(c["UNROLL"], k), lanes, pack_a, pack_b,
            a_columns=c["A_LAYOUT"] == "columns",
        )  # fmt: skip
        program = Program(workload, tiles)
        schedule = tvm.s_tir.Schedule(program.module(), debug_mask="none")
        write = schedule.get_sblock("write")
        k_loop, b_loop, m_loop, n_loop = schedule.get_loops(write)
        part_m, m_block, m_tile = _cut(schedule, m_loop, program.mt, c["SPLIT_M"], ceildiv(c["MC"], mr))
        part_n, n_block, n_tile = _cut(schedule, n_loop, program.nt, c["SPLIT_N"], ceildiv(c["NC"], nr))
        loops = {"m": m_block, "n": n_block, "k": k_loop}
        order = [loops[axis] for axis in c["ORDER"]]
        inner = [n_tile, m_tile] if c["INNER"] == "m" else [m_tile, n_tile]
        schedule.reorder(b_loop, part_m, part_n, *order, *inner)
        schedule.compute_at(schedule.get_sblock("multiply"), inner[-1])
        parallel = program.batch * c["SPLIT_M"] * c["SPLIT_N"] > 1
        for name, packed, where, axes in (
            ("pack_a", pack_a, c["PACK_A"], "mk"),
            ("pack_b", pack_b, c["PACK_B"], "nk"),
        ):
            if not packed:
                continue
            block = schedule.get_sblock(name)
            if where == "ahead":
                if parallel:
                    schedule.parallel(schedule.fuse(*schedule.get_loops(block)))
            else:
                schedule.compute_at(block, order[max(c["ORDER"].index(axis) for axis in axes)])
        if parallel:
            schedule.parallel(schedule.fuse(b_loop, part_m, part_n))
        return schedule


def _cut(schedule: Any, loop: Any, tiles: int, parts: int, block: int) -> list[Any]:
    """Splits a loop over tiles into parts, blocks of about `block` tiles, and tiles: as even as can be."""
    each = ceildiv(tiles, parts)
    blocks = ceildiv(each, block)
    return list(schedule.split(loop, [parts, blocks, ceildiv(each, blocks)]))
