"""TensorIR convolution for CUDA: TVM schedules it and generates CUDA C, NVRTC compiles that."""

from dataclasses import asdict
from typing import Any, ClassVar

from tuner.core.activations import activation_of
from tuner.core.kernel import Kernel, Launch, Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS, SCALES
from tuner.schedules.conv2d.shapes import Shape
from tuner.schedules.conv2d.tensorir_cuda.program import ConvProgram, a_row
from tuner.schedules.product_tiles import ThreadTiles, WarpTiles
from tuner.schedules.scheduled import launched

_PARAMETERS = (
    Parameter("BM", (16, 32, 64, 128, 256), "pixels of Y a block"),
    Parameter("BN", (16, 32, 64, 128, 256), "channels of Y a block"),
    Parameter("VECTOR", (1, 2, 4, 8, 16), "elements a load of filters, and of images where they allow it"),
    Parameter("PAD", (0, 1), "16 bytes after each row in shared memory"),
    Parameter("DOUBLE_BUFFER", (0, 1), "the next tile is read into registers meanwhile"),
)
# Elements of a load of X: single ones where pixels or channels do not lie side by side in such vectors.
_VECTOR_X = "(VECTOR if a_row % VECTOR == 0 else 1)"


def _constraints(threads: str, sums: str, staging: str) -> list[Constraint]:
    """What holds for both kernels: `threads` of a block, registers of `sums`, bytes of `staging`."""
    pad = "16 * PAD * ((BM if nhwc else BK) + BN)"
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
        Constraint("vector_divides_filters", "depth % VECTOR == 0"),
        Constraint("vector_divides_depth", "BK % VECTOR == 0"),
        Constraint("even_fetch_images", f"BM * BK % ({_VECTOR_X} * ({threads})) == 0"),
        Constraint("even_fetch_filters", f"BN * BK % (VECTOR * ({threads})) == 0"),
        # Each piece of an image has an address and a condition of its own.
        Constraint("pieces_fit_a_thread", f"BM * BK // {_VECTOR_X} + BN * BK // VECTOR <= 16 * ({threads})"),
        # 56 for addresses and loops.
        Constraint("registers_fit", f"{sums} + 56 + {held} <= max_registers_thread"),
        Constraint("registers_of_block_fit", f"({sums} + 56) * ({threads}) <= registers_block"),
        Constraint(
            "shared_fits", f"(BM + BN) * BK * element_bytes + {pad} + {staging} <= shared_bytes_block"
        ),
    ]


class _TensorIRCudaConv(Kernel):
    """What both share: blocks of BM pixels x BN channels, gathered together BK deep.

    Compiled for one shape: sizes are constants in the code, and what lies outside is fetched as zero and
    never stored. Each group is a product of its own, so a depthwise convolution fills one column in sixteen.
    """

    rows, columns = "pixels of Y", "channels of Y"
    operator = "conv2d"
    language = "tensorir"
    target_kinds = ("cuda",)
    options: ClassVar[dict[str, Option]] = {**OPTIONS, **EPILOGUE, **SCALES}
    tensor: bool

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits, and more groups than a grid has blocks along z."""
        reason = super().unsupported(workload, target)
        return reason or Shape.of(workload).unsupported(target)

    def _fetch(self, threads: str, sums: str, staging: str) -> list[Constraint]:
        return _constraints(threads, sums, staging)

    def _space(
        self, workload: Workload, target: Target, parameters: list[Parameter], constraints: list[Constraint]
    ) -> SearchSpace:
        shape = Shape.of(workload)
        constants = {**self.constants(workload, target), "depth": shape.depth, "a_row": a_row(shape)}
        return SearchSpace([*_PARAMETERS[:2], *parameters, *_PARAMETERS[2:]], constraints, constants)

    def _program(self, workload: Workload, config: Config) -> ConvProgram:
        shape = Shape.of(workload)
        scale = 2 if workload.option("scale_channel", False) else int(workload.option("scale_tensor", False))
        sizes: dict[str, Any] = {
            "m": shape.pixels, "n": shape.outer, "k": shape.depth, "batch": shape.groups,
            "trans_a": not shape.nhwc, "trans_b": True, "bias": workload.option("bias", False),
            "residual": workload.option("residual", False), "activation": activation_of(workload),
            "scale": scale, "dtype": workload.dtype,
            "shape": asdict(shape),
        }  # fmt: skip
        return ConvProgram(sizes, {**config, "TENSOR": int(self.tensor)})

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The sizes and choices of which `schedule.module` makes the program."""
        program = self._program(workload, config)
        tiles_m, tiles_n, _ = program.tiles
        block = (32, program.threads // 32, 1) if self.tensor else (program.threads, 1, 1)
        launch = Launch((tiles_m * tiles_n, 1, int(program.batch)), block)
        more = {"bias": program.bias, "residual": program.residual, "scale": program.scale}
        names = ["X", "W", *(name for name, there in more.items() if there), "Y"]
        return launched(program, "tuner.schedules.conv2d.tensorir_cuda.schedule:module", names, launch)

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Tile area, intensity, bytes; what the analytic model asks for."""
        program = self._program(workload, config)
        tiles_m, tiles_n, tiles_k = program.tiles
        tiles, edge = int(program.batch) * tiles_m * tiles_n, program.BM + program.BN
        return {
            "macs": float(tiles * program.BM * program.BN * program.k),
            "traffic_bytes": float(tiles * edge * program.k * workload.element_bytes),
            "steps": float(tiles_k),
            "stages": 1.0 + float(program.DOUBLE_BUFFER),
            "threads": float(program.threads),
            "shared": float(edge * program.BK * workload.element_bytes),
            "intensity": program.BM * program.BN / edge,
            "registers": program.BM * program.BN / program.threads,
        }


class TensorIRConvThreads(_TensorIRCudaConv, ThreadTiles):
    """On CUDA cores: threads own TM x TN elements in VM x VN separate pieces (TVM's virtual threads)."""

    name = "conv_tir_cuda"
    summary = (
        "TensorIR: implicit GEMM on CUDA cores: gathered shared tiles, register tiles, software pipeline."
    )


class TensorIRConvWmma(_TensorIRCudaConv, WarpTiles):
    """On tensor cores: warps own WM x WN elements in wmma fragments of 16 x 16."""

    name = "conv_tir_cuda_wmma"
    summary = "TensorIR: implicit GEMM tensorized with wmma: gathered shared tiles, software pipeline."
