"""TensorIR GEMM for CUDA: TVM schedules it and generates CUDA C, NVRTC compiles that."""

from tuner.core.kernel import Kernel, Launch, Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS, largest_tensor
from tuner.schedules.gemm.tensorir_cuda.program import Program
from tuner.schedules.product_tiles import ThreadTiles, WarpTiles
from tuner.schedules.scheduled import launched, too_large

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
        Constraint("vector_divides_depth", "BK % VECTOR == 0"),
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

    rows, columns = "rows of D", "columns of D"
    operator = "gemm"
    language = "tensorir"
    target_kinds = ("cuda",)
    claims = ("wide_loads",)
    options = OPTIONS
    tensor: bool

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits."""
        return super().unsupported(workload, target) or too_large(largest_tensor(workload))

    def _fetch(self, threads: str, sums: str, staging: str) -> list[Constraint]:
        return _shared_constraints(threads, sums, staging)

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
        return launched(program, "tuner.schedules.gemm.tensorir_cuda.schedule:module", names, launch)

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


class TensorIRThreads(_TensorIRCuda, ThreadTiles):
    """On CUDA cores: threads own TM x TN elements in VM x VN separate pieces (TVM's virtual threads)."""

    name = "tir_cuda"
    summary = "TensorIR: thread binding, shared and register tiles, vectorized fetch, software pipeline."


class TensorIRWmma(_TensorIRCuda, WarpTiles):
    """On tensor cores: warps own WM x WN elements in wmma fragments of 16 x 16."""

    name = "tir_cuda_wmma"
    claims = ("wide_loads", "tensor_cores")
    summary = "TensorIR tensorized with wmma: fragments a warp, vectorized fetch, software pipeline."
