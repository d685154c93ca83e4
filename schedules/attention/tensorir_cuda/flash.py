"""TensorIR attention for CUDA: the online softmax by hand, on CUDA cores."""

from typing import Any

from tuner.core.integers import ceildiv
from tuner.core.kernel import Kernel, Launch, Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS, heads_of, masked, scale_of
from tuner.schedules.attention.tensorir.program import LOG2_E, Rows
from tuner.schedules.attention.tensorir_cuda.program import Program
from tuner.schedules.scheduled import launched, no_bf16, too_large


class TensorIRFlashCuda(Kernel):
    """Threads, shared tiles and registers bound in the program itself; TVM inserts barriers and compiles.

    Compiled for one shape: sizes are constants in the code. Without a mask the queries of all heads that
    share keys are rows of one matrix, so that a step of decoding reads keys once for all of them.
    """

    name = "attn_tir_cuda"
    operator = "attention"
    language = "tensorir"
    summary = (
        "TensorIR: online softmax in shared tiles, register tiles, vectorized fetch; grouped, causal, paged."
    )
    dtypes = ("f32", "f16", "bf16")
    target_kinds = ("cuda",)
    options = OPTIONS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits; bf16 on a GPU that has no arithmetic for it."""
        reason = super().unsupported(workload, target) or no_bf16(workload, target)
        b, h, q, kv, d = (size for _, size in workload)
        # A pool of pages is a quarter more than its tokens, and at least a page.
        cache = 2 * b * heads_of(workload) * (kv + int(workload.option("page_size", 16))) * d
        return reason or too_large(max(b * h * q * d, cache))

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles of the block and the thread, the fetch, padding, unrolling."""
        parameters = [
            Parameter("BM", (8, 16, 32, 64, 128), "queries of a block"),
            Parameter("BN", (8, 16, 32, 64, 128), "keys of a tile"),
            Parameter("TX", (4, 8, 16, 32), "threads along keys, and along columns of O"),
            Parameter("TM", (1, 2, 4, 8), "queries a thread"),
            Parameter("VECTOR", (1, 2, 4, 8), "elements a load from global memory"),
            Parameter("UNROLL", (1, 2, 4, 8), "steps of both products in straight-line code"),
            Parameter("PAD", (0, 1), "an element after each row in shared memory"),
        ]
        threads = "(TX * (BM // TM))"
        registers = "TM * (BN // TX) + TM * ceildiv(d, TX) + 6 * TM + BN // TX + ceildiv(d, TX) + VECTOR + 40"
        constraints = [
            Constraint("rows_divide", "BM % TM == 0"),
            Constraint("keys_divide", "BN % TX == 0"),
            Constraint("whole_warps", f"{threads} % warp_size == 0"),
            Constraint("threads_fit", f"{threads} <= max_threads_block"),
            Constraint("vector_of_16_bytes", "VECTOR * element_bytes <= 16"),
            Constraint("vector_divides", "d % VECTOR == 0"),
            Constraint("unroll_divides", "d % UNROLL == 0 and BN % UNROLL == 0"),
            Constraint("registers_fit", f"{registers} <= max_registers_thread"),
            Constraint("registers_of_block_fit", f"({registers}) * {threads} <= registers_block"),
            Constraint("queries_used", "BM < 2 * rows or BM == 8"),
            Constraint("keys_used", "BN < 2 * kv or BN == 8"),
            # Tiles of queries, keys and values, weights, and the largest score of each thread.
            Constraint(
                "shared_fits",
                "(BM * (d + PAD) + d * (BN + PAD) + BN * (ceildiv(d, TX) * TX + VECTOR)) * element_bytes"
                " + BM * (BN + PAD + TX) * 4 + 128 <= shared_bytes_block",
            ),
        ]
        constants = {**self.constants(workload, target), "rows": Rows.of(workload).rows}
        return SearchSpace(parameters, constraints, constants)

    def _program(self, workload: Workload, config: Config) -> Program:
        matrix, paged = Rows.of(workload), bool(workload.option("paged", False))
        page = int(workload.option("page_size", 16)) if paged else 0
        sizes: dict[str, Any] = {
            "heads": matrix.heads, "rows": matrix.rows, "share": matrix.share, "kv_heads": heads_of(workload),
            "batch": workload["b"], "kv": workload["kv"], "d": workload["d"], "page": page,
            "pages": ceildiv(workload["kv"], page) if paged else 0, "masked": masked(workload),
            "factor": scale_of(workload) * LOG2_E, "dtype": workload.dtype,
        }  # fmt: skip
        return Program(sizes, dict(config))

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The sizes and choices of which `program.module` makes the kernel."""
        program = self._program(workload, config)
        names = ["Q", "K", "V", *(["block_table"] if program.page else []), "O"]
        launch = Launch((program.heads * program.tiles, 1, 1), (program.threads, 1, 1))
        return launched(program, "tuner.schedules.attention.tensorir_cuda.program:module", names, launch)

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Multiply-adds with padding, bytes, threads; what the analytic model asks for."""
        program = self._program(workload, config)
        size, d = workload.element_bytes, workload["d"]
        blocks = program.heads * program.tiles
        keys = float(ceildiv(workload["kv"], program.BN) * program.BN)
        if masked(workload):
            keys = min(keys, workload["kv"] - workload["q"] / 2 + program.BM / 2)
        return {
            "macs": float(blocks * 2 * program.BM * keys * d),
            "traffic_bytes": float(blocks * (2 * program.BM + 2 * keys) * d * size),
            "steps": max(1.0, keys / program.BN),
            "stages": 1.0,
            "threads": float(program.threads),
            "shared": float((program.BM + 2 * program.BN) * d * size + 4 * program.BM * program.BN),
            "intensity": program.BM * program.BN / (program.BM + program.BN),
            "registers": program.TM * (program.BN / program.TX + program.columns),
        }
