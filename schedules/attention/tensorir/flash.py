"""TensorIR attention: online softmax over blocks of keys, register tiles for both products."""

import math
from typing import Any

from tuner.core.integers import ceildiv
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS
from tuner.schedules.attention.tensorir.program import Program, Rows, needs_copy, rounded
from tuner.schedules.attention.tensorir.vectors import Sizes
from tuner.schedules.library import target_threads
from tuner.schedules.scheduled import ScheduledKernel, too_large

_TILES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512)


class FlashTensorIR(ScheduledKernel):
    """A schedule of the blocks of `program.py`.

    Blocks of `PANELS` panels of queries are shared among the threads; each goes over blocks of `TILES` tiles
    of keys, whose scores are computed where they are used (fused). One block of all keys is the softmax in
    two passes. `SPLIT_KV` parts of the keys are computed apart where there are fewer blocks of
    queries than threads, and combined by a block of its own. Queries, keys and values are rearranged ahead of
    everything else, by all threads, where their block begins, or (keys and values) not at all.

    `lower` takes every configuration for every workload: columns beyond d are cut, and what cannot be read in
    place is copied after all.
    """

    name = "attn_tir"
    operator = "attention"
    summary = (
        "TensorIR: FlashAttention in register tiles, vector exp, two layouts of scores, split over keys."
    )
    dtypes = ("f32",)
    options = OPTIONS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits."""
        reason = super().unsupported(workload, target)
        b, h, q, kv, d = (size for _, size in workload)
        # Panels and blocks of keys pad by less than a factor of 64; what they pad is small then.
        return reason or too_large(max(b * h * q * d, b * h * kv * d, b * h * q * kv))

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Layout, tiles, blocks, where operands are rearranged, and parts of the keys."""
        constants = self.constants(workload, target)
        for name, default in (("vector_bytes", 16), ("vector_registers", 16), ("l1d_bytes", 32768)):
            constants.setdefault(name, default)
        lanes = int(constants["vector_bytes"]) // 4
        threads, matrix = target_threads(target), Rows.of(workload)
        in_place = [needs_copy(workload, lanes, along_head) for along_head in (False, True)]
        constants.update(
            lanes=lanes, threads=threads, heads=matrix.heads, rows=matrix.rows, share=matrix.share,
            columns=rounded(workload, lanes), copy_k=in_place[0][0], copy_k_along_head=in_place[1][0],
            copy_v=in_place[0][1], fewest=4 if lanes < 4 else lanes,
        )  # fmt: skip
        return SearchSpace(
            [
                Parameter("LAYOUT", ("queries", "head"), "along what the vectors of the scores run"),
                Parameter("QUERIES", (1, 2, 4, 8, 16, 32, 48, 64), "queries of a panel"),
                Parameter("KEYS", (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16), "keys of the scores' register tile"),
                Parameter("ROWS", (1, 2, 3, 4, 6, 8, 12, 16), "queries of the output's register tile"),
                Parameter("COLUMNS", (4, 8, 16, 32, 48, 64, 128), "its columns, whole vectors"),
                Parameter("PANELS", (1, 2, 3, 4, 6, 8, 16), "panels of queries that read keys together"),
                Parameter("TILES", _TILES, "tiles of keys between two rescalings"),
                Parameter("UNROLL", (1, 2, 4, 8), "steps of d, and of keys, in the products' loops"),
                Parameter("PACK_Q", ("block", "ahead"), "where queries are transposed and scaled"),
                Parameter(
                    "PACK_K", ("none", "block", "ahead"), "where keys are copied in their tiles' order"
                ),
                Parameter("PACK_V", ("none", "block", "ahead"), "where values are copied"),
                Parameter("SPLIT_KV", (1, 2, 4, 8, 16, 32, 64), "parts of the keys that are computed apart"),
            ],
            [
                # Along queries few rows leave lanes empty; along the head many pay for sums across lanes.
                Constraint("lanes_used", "rows * 2 > lanes if LAYOUT == 'queries' else rows < 2 * lanes"),
                Constraint("whole_vectors", "LAYOUT == 'head' or QUERIES % lanes == 0"),
                Constraint("rows_of_a_vector", "LAYOUT == 'queries' or QUERIES < fewest"),
                Constraint(
                    "queries_used", "QUERIES < 2 * rows or QUERIES == (lanes if LAYOUT == 'queries' else 1)"
                ),
                Constraint(
                    "score_registers",
                    "KEYS * QUERIES + QUERIES + 1 < vector_registers if LAYOUT == 'head'"
                    " else (KEYS + 1) * (QUERIES // lanes) + 1 <= vector_registers",
                ),
                Constraint("output_columns", "COLUMNS % lanes == 0 and columns % COLUMNS == 0"),
                Constraint("output_rows", "QUERIES % ROWS == 0"),
                Constraint("output_registers", "(ROWS + 1) * (COLUMNS // lanes) + 1 <= vector_registers"),
                # Two FMA pipes of latency 4 want 8 independent sums; few columns or rows do with fewer.
                Constraint(
                    "latency", "ROWS * (COLUMNS // lanes) >= 4 or ROWS == QUERIES or COLUMNS == columns"
                ),
                Constraint("key_tiles", "LAYOUT == 'queries' or (KEYS * TILES) % lanes == 0"),
                Constraint(
                    "keys_of_a_vector", "LAYOUT == 'queries' or (KEYS % lanes == 0 or lanes % KEYS == 0)"
                ),
                Constraint("keys_used", "KEYS < 2 * kv or KEYS == 1"),
                Constraint("block_used", "KEYS * TILES < 2 * kv or TILES <= lanes"),
                # Scores and their probabilities, written and read twice: a block of them stays in a cache.
                Constraint("scores_in_cache", "2 * KEYS * TILES * QUERIES * 4 <= 8 * l1d_bytes"),
                Constraint("panels_used", "PANELS == 1 or PANELS * QUERIES < 2 * rows"),
                Constraint(
                    "unrolled_body",
                    "UNROLL * KEYS * ceildiv(QUERIES, lanes) <= 128"
                    " and UNROLL * ROWS * (COLUMNS // lanes) <= 128",
                ),
                Constraint(
                    "keys_in_place",
                    "PACK_K != 'none' or not (copy_k_along_head if LAYOUT == 'head' else copy_k)",
                ),
                Constraint("values_in_place", "PACK_V != 'none' or not copy_v"),
                # What is read once is not worth a copy that nothing asks for.
                Constraint(
                    "copies_pay",
                    "rows > QUERIES or (PACK_V == 'none' or copy_v) and (PACK_K == 'none' or"
                    " (copy_k_along_head if LAYOUT == 'head' else copy_k))",
                ),
                # Parts are worth their combination where blocks of queries do not feed the threads.
                Constraint(
                    "split_needed",
                    "SPLIT_KV == 1 or (SPLIT_KV * 64 <= kv and SPLIT_KV * KEYS * TILES < 2 * kv"
                    " and SPLIT_KV <= 4 * threads"
                    " and heads * ceildiv(rows, QUERIES * PANELS) < 4 * threads)",
                ),
            ],
            constants,
        )

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Register tiles, bytes that should stay in a cache, passes over the keys, and parts."""
        c: dict[str, Any] = dict(config)
        rows, d, block = Rows.of(workload).rows, workload["d"], c["KEYS"] * c["TILES"]
        return {
            "score_tile": c["KEYS"] * c["QUERIES"],
            "output_tile": c["ROWS"] * c["COLUMNS"],
            "score_bytes": 8 * block * c["QUERIES"],
            "cache_bytes": 8 * block * d,
            "passes_over_cache": ceildiv(rows, c["QUERIES"] * c["PANELS"]),
            "padding": ceildiv(rows, c["QUERIES"] * c["PANELS"]) * c["QUERIES"] * c["PANELS"] / rows,
        }

    def schedule(self, workload: Workload, config: Config, target: Target) -> Any:
        """The `tvm.s_tir.Schedule` of a configuration."""
        import tvm
        import tvm.s_tir

        c: dict[str, Any] = dict(config)
        lanes = int(target.limits.get("vector_bytes", 16)) // 4
        width = rounded(workload, lanes)
        sizes = Sizes(
            d=workload["d"], width=width, queries=c["QUERIES"], keys=c["KEYS"],
            block=c["KEYS"] * c["TILES"], rows=c["ROWS"], columns=math.gcd(c["COLUMNS"], width),
            unroll=c["UNROLL"], lanes=lanes, along_head=c["LAYOUT"] == "head",
        )  # fmt: skip
        copies = {"copy_k": c["PACK_K"], "copy_v": c["PACK_V"]}
        needed = needs_copy(workload, lanes, sizes.along_head)
        for (name, where), copied in zip(tuple(copies.items()), needed, strict=True):
            copies[name] = "block" if copied and where == "none" else where
        program = Program(
            workload, sizes, c["PANELS"], c["SPLIT_KV"], *(w != "none" for w in copies.values())
        )
        schedule = tvm.s_tir.Schedule(tvm.script.from_source(program.source()), debug_mask="none")
        together = _share if target_threads(target) > 1 else lambda schedule, *loops: None
        write, attend = schedule.get_sblock("write"), schedule.get_sblock("attend")
        if c["SPLIT_KV"] == 1:
            head, panel = schedule.get_loops(write)
            block, _ = schedule.split(panel, [None, c["PANELS"]])
            schedule.compute_at(attend, block, preserve_unit_loops=True)
            shared = [head, block]
        else:
            head, part, panel, _ = schedule.get_loops(attend)
            block, _ = schedule.split(panel, [None, c["PANELS"]])
            schedule.reorder(head, block, part)
            together(schedule, *schedule.get_loops(write))
            shared = [head, block, part]
        # One block of keys serves all panels before the next.
        *_, inner, keys = schedule.get_loops(attend)
        schedule.reorder(keys, inner)
        schedule.compute_at(schedule.get_sblock("score"), inner)
        for name, where in {"pack_q": c["PACK_Q"], **copies}.items():
            if where == "none":
                continue
            moved = schedule.get_sblock(name)
            if where == "block":
                schedule.compute_at(moved, shared[-1] if name == "pack_q" else keys)
            else:
                together(schedule, *schedule.get_loops(moved))
        together(schedule, *shared)
        return schedule


def _share(schedule: Any, *loops: Any) -> None:
    """The iterations of these loops, shared among the threads."""
    schedule.parallel(schedule.fuse(*loops))
