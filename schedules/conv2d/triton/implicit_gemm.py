"""Triton convolution: implicit GEMM with split depth in one launch, any geometry, fused epilogue."""

from typing import Any, ClassVar

from tuner.core.activations import activation_of
from tuner.core.integers import ceildiv
from tuner.core.kernel import Argument, Kernel, Launch, Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS, SCALES
from tuner.schedules.conv2d.shapes import Shape
from tuner.schedules.triton_types import lacking

# Triton's names for the element types of X and W, and of bias and Y.
_POINTERS = {"f32": ("*fp32", "*fp32"), "f16": ("*fp16", "*fp16"), "int8": ("*i8", "*i32"),
             "bf16": ("*bf16", "*bf16")}  # fmt: skip
_TILE = ("BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP_M", "SPLIT_K", "DEPTH")


class TritonConv2d(Kernel):
    """The kernel of `program.conv2d`, compiled for one shape.

    Each group is a product of its own; a depthwise convolution therefore fills one column of a tile's
    sixteen, and is right but slow.
    """

    name = "conv_triton"
    operator = "conv2d"
    language = "triton"
    summary = "Triton: implicit GEMM, split over the depth, any stride, padding, dilation, groups, layout."
    dtypes = ("f32", "f16", "int8", "bf16")
    target_kinds = ("cuda",)
    options: ClassVar[dict[str, Option]] = {**OPTIONS, **EPILOGUE, **SCALES}

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits, and more groups than a grid has blocks along z."""
        reason = super().unsupported(workload, target) or lacking(workload, target)
        return reason or Shape.of(workload).unsupported(target)

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles, order of the depth, split, warps, stages; for f32 also how products are formed."""
        small = 32 if workload.dtype == "int8" else 16  # the least depth of a tensor-core operation
        parameters = [
            Parameter("BLOCK_M", (16, 32, 64, 128, 256), "pixels of Y a program"),
            Parameter("BLOCK_N", (16, 32, 64, 128, 256), "channels of Y a program"),
            Parameter("BLOCK_K", tuple(v for v in (16, 32, 64, 128) if v >= small), "depth of a tile"),
            Parameter("DEPTH", ("taps", "flat"), "a tile's depth: channels of one tap, or any of a filter"),
            Parameter("GROUP_M", (1, 4, 8, 16), "rows of programs visited together"),
            Parameter("SPLIT_K", (1, 2, 4, 8, 16), "programs that share the depth of a tile of Y"),
            Parameter("num_warps", (2, 4, 8, 16), "warps a program"),
            Parameter("num_stages", (1, 2, 3, 4, 5), "tiles under way in the pipelined loop"),
        ]
        constraints = [
            Constraint("tile_feeds_the_warps", "BLOCK_M * BLOCK_N >= 128 * num_warps"),
            # Sums a thread, in registers: 128 of 255; a quarter of a block's is left for all else, without
            # which ptxas refuses wgmma.
            Constraint(
                "sums_fit", "BLOCK_M * BLOCK_N <= min(128 * 32 * num_warps, registers_block * 3 // 4)"
            ),
            # Addresses and masks of a gathered element are registers too.
            Constraint("gather_fits", "BLOCK_M * BLOCK_K <= 64 * 32 * num_warps"),
            Constraint(
                "shared_fits",
                "max(1, num_stages - 1) * (BLOCK_M + BLOCK_N) * BLOCK_K * element_bytes <= "
                "shared_bytes_block_optin",
            ),
            Constraint("shares_have_depth", "SPLIT_K == 1 or SPLIT_K * BLOCK_K <= depth"),
            Constraint(
                "channels_fill_a_tap", "DEPTH == 'flat' or BLOCK_K < 2 * inner or BLOCK_K == least_depth"
            ),
            Constraint("channels_fill_the_tile", "BLOCK_N < 2 * outer or BLOCK_N == 16"),
            Constraint("workspace_fits", "SPLIT_K == 1 or SPLIT_K * pixels * k * 4 <= 2 ** 30"),
            Constraint("stages_need_cp_async", "num_stages <= 2 or cp_async == 1"),
        ]
        if workload.dtype == "f32":
            choices = ("ieee", "tf32x3") if target.limits.get("cp_async") else ("ieee",)
            parameters.append(
                Parameter("INPUT_PRECISION", choices, "f32 products: FMA, or three tensor-core products")
            )
            # Without tensor cores every product is an instruction in straight-line code.
            constraints.append(
                Constraint(
                    "code_size",
                    "INPUT_PRECISION == 'tf32x3' or BLOCK_M * BLOCK_N * BLOCK_K // (32 * num_warps) <= 2048",
                )
            )
        shape = Shape.of(workload)
        constants = {
            **self.constants(workload, target), "inner": shape.inner, "outer": shape.outer,
            "depth": shape.depth, "pixels": shape.pixels, "least_depth": small,
        }  # fmt: skip
        return SearchSpace(parameters, constraints, constants)

    def _tiles(self, workload: Workload, config: Config) -> int:
        shape = Shape.of(workload)
        rows, columns = int(config["BLOCK_M"]), int(config["BLOCK_N"])
        return ceildiv(shape.pixels, rows) * ceildiv(shape.outer, columns)

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The name of the function, its constants, and its signature."""
        shape, split = Shape.of(workload), int(config["SPLIT_K"])
        tiles = self._tiles(workload, config)
        narrow, wide = _POINTERS[workload.dtype]
        integer = workload.dtype == "int8"
        scale = 2 if workload.option("scale_channel", False) else int(workload.option("scale_tensor", False))
        constants: dict[str, Any] = {
            "IMAGES": shape.n, "INNER": shape.inner, "OUTER": shape.outer, "GROUPS": shape.groups,
            "H": shape.h, "WIDTH": shape.w, "R": shape.r, "S": shape.s, "P": shape.p, "Q": shape.q,
            "STRIDE": shape.stride, "DILATION": shape.dilation, "TOP": shape.top, "LEFT": shape.left,
            "NHWC": shape.nhwc, "HAS_BIAS": workload.option("bias", False),
            "RESIDUAL": workload.option("residual", False), "ACTIVATION": activation_of(workload),
            "SCALE": scale, "INTEGER": integer,
            "INPUT_PRECISION": config.get("INPUT_PRECISION", "ieee"),
            **{name: config[name] for name in _TILE},
        }  # fmt: skip
        pointers = {
            "X": narrow, "W": narrow, "bias": wide, "residual": wide, "scale": "*fp32",
            "Y": "*i8" if scale else wide, "partial": "*i32" if integer else "*fp32", "arrived": "*i32",
        }  # fmt: skip
        absent = {
            "bias": not constants["HAS_BIAS"], "residual": not constants["RESIDUAL"], "scale": not scale,
            "partial": split == 1, "arrived": split == 1,
        }  # fmt: skip
        signature = {name: "constexpr" if absent.get(name) else kind for name, kind in pointers.items()}
        constants.update({name: None for name, gone in absent.items() if gone})
        workspace = {"partial": split * shape.pixels * workload["k"] * 4, "arrived": shape.groups * tiles * 4}
        arguments = tuple(
            Argument(name, "workspace", workspace[name]) if name in workspace else Argument(name)
            for name, kind in signature.items()
            if kind != "constexpr"
        )
        options = {
            "signature": signature,
            "constants": constants,
            "divisible": [argument.name for argument in arguments],  # buffers are allocated on 256 bytes
            "num_warps": int(config["num_warps"]),
            "num_stages": int(config["num_stages"]),
        }
        launch = Launch((tiles, split, shape.groups), (32 * int(config["num_warps"]), 1, 1))
        text = "tuner.schedules.conv2d.triton.program:conv2d"
        return Source(self.language, text, "conv2d", arguments, 1, launch, options)

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Tile area, intensity, bytes, programs; what the analytic model asks for."""
        shape, size = Shape.of(workload), workload.element_bytes
        bm, bn, bk = (int(config[name]) for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        split, warps, stages = (int(config[name]) for name in ("SPLIT_K", "num_warps", "num_stages"))
        blocks = shape.groups * self._tiles(workload, config)
        # Depth with what the last tile, or each tap's last tile, is filled up with.
        filled = ceildiv(shape.depth, bk) * bk
        if config["DEPTH"] == "taps":
            filled = shape.r * shape.s * ceildiv(shape.inner, bk) * bk
        # Sums of a split tile go out to memory and come back.
        partial = 2 * 4 * split * shape.pixels * workload["k"] if split > 1 else 0
        # tf32x3 is three tensor-core products for one.
        products = 3 if config.get("INPUT_PRECISION") == "tf32x3" else 1
        return {
            "macs": float(blocks * bm * bn * filled * products),
            "traffic_bytes": float(blocks * (bm + bn) * shape.depth * size + partial),
            "steps": float(ceildiv(filled // bk, split)),
            "stages": float(max(1, stages)),
            "threads": 32.0 * warps,
            "shared": float(max(1, stages - 1) * (bm + bn) * bk * size),
            "intensity": bm * bn / (bm + bn),
            "blocks": float(blocks * split),
            "registers": bm * bn / (32 * warps),
        }
