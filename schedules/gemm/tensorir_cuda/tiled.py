"""TensorIR GEMM for CUDA: TVM schedules it and generates CUDA C, NVRTC compiles that."""

from tuner.core.kernel import Argument, Kernel, Launch, Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS
from tuner.schedules.gemm.tensorir_cuda.program import Program

_BLOCK = (
    Parameter("BM", (16, 32, 64, 128, 256), "rows of D a block"),
    Parameter("BN", (16, 32, 64, 128, 256), "columns of D a block"),
)
_FETCH = (
    Parameter("VECTOR", (1, 2, 4, 8, 16), "elements a load from global memory"),
    Parameter("PAD", (0, 1), "16 bytes after each row in shared memory"),
    Parameter("DOUBLE_BUFFER", (0, 1), "the next tile is read into registers meanwhile"),
)


def _shared_constraints(threads: str, sums: str, staging: str) -> list[Constraint]:
    """What holds for both kernels: `threads` of a block, registers of `sums`, bytes of `staging`."""
    pad = "16 * PAD * ((BK if trans_a else BM) + (BN if trans_b else BK))"
    held = f"DOUBLE_BUFFER * (BM + BN) * BK * element_bytes // 4 // ({threads})"
    return [
        Constraint("whole_warps", f"({threads}) % warp_size == 0"),
        Constraint("threads_fit", f"({threads}) <= max_threads_block"),
        Constraint(
            "vector_of_16_bytes",
            "VECTOR == 1 or 4 <= VECTOR * element_bytes <= 16",
            "a load of 4 to 16 bytes, or one element",
        ),
        # TVM 0.27 writes the zero of a vector of 8 or 16 bytes as make_int4 of 16 arguments, which is no C.
        Constraint("vector_tvm_writes", "element_bytes > 1 or VECTOR <= 4"),
        Constraint("vector_divides", "VECTOR == 1 or (a_row % VECTOR == 0 and b_row % VECTOR == 0)"),
        Constraint("even_fetch_a", f"BM * BK % (VECTOR * ({threads})) == 0"),
        Constraint("even_fetch_b", f"BN * BK % (VECTOR * ({threads})) == 0"),
        Constraint("pieces_fit_a_thread", f"(BM + BN) * BK <= 16 * VECTOR * ({threads})"),
        # 40 for addresses and loops.
        Constraint("registers_fit", f"{sums} + 40 + {held} <= max_registers_thread"),
        Constraint("registers_of_block_fit", f"({sums} + 40) * ({threads}) <= registers_block"),
        Constraint(
            "shared_fits", f"(BM + BN) * BK * element_bytes + {pad} + {staging} <= shared_bytes_block"
        ),
        Constraint("grid_fits", "batch <= max_grid_z"),
    ]


class _TensorIRCuda(Kernel):
    """What both share: blocks of BM x BN, fetched together BK deep by vectors of VECTOR elements.

    Compiled for one shape: sizes are constants in the code, and what lies outside is fetched as zero and
    never stored. Where VECTOR does not divide a row, elements are loaded one by one.
    """

    operator = "gemm"
    language = "tensorir"
    target_kinds = ("cuda",)
    claims = ("wide_loads",)
    options = OPTIONS
    tensor: bool

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits."""
        m, n, k = workload["m"], workload["n"], workload["k"]
        largest = max(m * n, m * k, n * k) * int(workload.option("batch", 1))
        too_large = "a tensor has 2^30 elements or more" if largest >= 2**30 else None
        return super().unsupported(workload, target) or too_large

    def _space(
        self, workload: Workload, target: Target, parameters: list[Parameter], constraints: list[Constraint]
    ) -> SearchSpace:
        constants = self.constants(workload, target)
        # What neighbours in memory are neighbours along, for each operand.
        constants["a_row"] = workload["m"] if constants["trans_a"] else workload["k"]
        constants["b_row"] = workload["k"] if constants["trans_b"] else workload["n"]
        return SearchSpace([*_BLOCK, *parameters, *_FETCH], constraints, constants)

    def _program(self, workload: Workload, config: Config) -> Program:
        sizes = {**self.options, **dict(workload.options), **dict(workload.dims), "dtype": workload.dtype}
        return Program(sizes, {**config, "TENSOR": int(self.tensor)})

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The sizes and choices of which `schedule.module` makes the program."""
        program = self._program(workload, config)
        tiles_m, tiles_n, _ = program.tiles
        block = (32, program.threads // 32, 1) if self.tensor else (program.threads, 1, 1)
        launch = Launch((tiles_m * tiles_n, 1, int(program.batch)), block)
        names = ["A", "B", *(["C"] if program.beta else []), *(["bias"] if program.bias else []), "D"]
        options = {"sizes": dict(program.sizes), "config": dict(program.config)}
        arguments = tuple(Argument(name) for name in names)
        text = "tuner.schedules.gemm.tensorir_cuda.schedule:module"
        return Source(self.language, text, "main_kernel", arguments, 1, launch, options)

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Tile area, intensity, bytes; what the analytic model asks for."""
        program = self._program(workload, config)
        tiles_m, tiles_n, tiles_k = program.tiles
        tiles, edge = int(program.batch) * tiles_m * tiles_n, program.BM + program.BN
        return {
            "macs": float(tiles * program.BM * program.BN * workload["k"]),
            "traffic_bytes": float(tiles * edge * workload["k"] * workload.element_bytes),
            "steps": float(tiles_k),
            "stages": 1.0 + float(program.DOUBLE_BUFFER),
            "threads": float(program.threads),
            "shared": float(edge * program.BK * workload.element_bytes),
            "intensity": program.BM * program.BN / edge,
            "registers": program.BM * program.BN / program.threads,
        }


class TensorIRThreads(_TensorIRCuda):
    """On CUDA cores: threads own TM x TN elements in VM x VN separate pieces (TVM's virtual threads)."""

    name = "tir_cuda"
    summary = "TensorIR: thread binding, shared and register tiles, vectorized fetch, software pipeline."
    dtypes = ("f32", "f16", "int8")
    tensor = False

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles of the block and the thread, the fetch, the pipeline."""
        parameters = [
            Parameter("BK", (4, 8, 16, 32, 64), "depth of the tiles in shared memory"),
            Parameter("TM", (1, 2, 4, 8, 16), "rows of D a thread"),
            Parameter("TN", (1, 2, 4, 8, 16), "columns of D a thread"),
            Parameter("VM", (1, 2, 4), "pieces of a thread's rows, BM / VM apart"),
            Parameter("VN", (1, 2, 4), "pieces of a thread's columns, BN / VN apart"),
            Parameter("UNROLL", (1, 2, 4, 8), "steps of k in straight-line code"),
        ]
        threads = "(BM // TM) * (BN // TN)"
        constraints = [
            Constraint("pieces_divide", "TM % VM == 0 and TN % VN == 0"),
            Constraint("thread_tiles_divide", "BM % TM == 0 and BN % TN == 0"),
            Constraint("unroll_divides_depth", "BK % UNROLL == 0"),
            Constraint("vector_divides_depth", "BK % VECTOR == 0"),
            *_shared_constraints(threads, "TM * TN + TM + TN", "0"),
        ]
        return self._space(workload, target, parameters, constraints)


class TensorIRWmma(_TensorIRCuda):
    """On tensor cores: warps own WM x WN elements in wmma fragments of 16 x 16."""

    name = "tir_cuda_wmma"
    claims = ("wide_loads", "tensor_cores")
    summary = "TensorIR tensorized with wmma: fragments a warp, vectorized fetch, software pipeline."
    dtypes = ("f16", "int8")
    tensor = True

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also a target without the tensor-core operation."""
        reason = super().unsupported(workload, target)
        feature = f"wmma_{workload.dtype}"
        return reason or (None if feature in target.features else f"{target.name} lacks {feature}")

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles of the block and the warp, the fetch, the pipeline."""
        parameters = [
            Parameter("BK", (16, 32, 64, 128), "depth of the tiles in shared memory"),
            Parameter("WM", (16, 32, 64, 128), "rows of D a warp"),
            Parameter("WN", (16, 32, 64, 128), "columns of D a warp"),
        ]
        threads = "(BM // WM) * (BN // WN) * 32"
        constraints = [
            Constraint("warp_tiles_divide", "BM % WM == 0 and BN % WN == 0"),
            # A fragment of sums passes through shared memory: 1 KiB a warp.
            *_shared_constraints(threads, "WM * WN // 32 + (WM + WN) // 2", f"32 * ({threads})"),
        ]
        return self._space(workload, target, parameters, constraints)
