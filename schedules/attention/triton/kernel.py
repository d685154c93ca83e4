"""What the Triton attention kernels share: constants, arguments, limits of a program."""

from typing import Any

from tuner.core.kernel import Argument, Kernel, Launch, Source
from tuner.core.space import Config, Constraint, Parameter
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS, heads_of, masked, scale_of
from tuner.schedules.triton_types import lacking

_LOG2_E = 1.4426950408889634
_POINTERS = {"f32": "*fp32", "f16": "*fp16", "bf16": "*bf16"}


def block_d(workload: Workload) -> int:
    """The head dimension, filled up to a power of two as Triton's tiles want it."""
    return 1 << (workload["d"] - 1).bit_length()


class TritonAttention(Kernel):
    """Compiled for one shape: all sizes are constants of the code. A subclass has its program and grid."""

    operator = "attention"
    language = "triton"
    dtypes = ("f32", "f16", "bf16")
    target_kinds = ("cuda",)
    options = OPTIONS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index within one head would not fit into 32 bits, or the grid is too large."""
        reason = super().unsupported(workload, target) or lacking(workload, target)
        largest = max(workload["q"], workload["kv"]) * workload["d"] * (workload["h"] // heads_of(workload))
        too_large = "a head has 2^30 elements or more" if largest >= 2**30 else None
        most = int(target.limits.get("max_grid_z", 65_535))
        heads = workload["b"] * workload["h"]
        too_many = f"{heads} heads of all sequences, at most {most}" if heads > most else None
        return reason or too_large or too_many

    def tile_space(self, workload: Workload, target: Target) -> tuple[list[Parameter], list[Constraint]]:
        """Parameters and constraints of a tile of BLOCK_M rows and BLOCK_N keys, for both kernels."""
        parameters = [
            Parameter("BLOCK_N", (16, 32, 64, 128), "keys of a tile"),
            Parameter("num_warps", (1, 2, 4, 8), "warps a program"),
            Parameter("num_stages", (1, 2, 3, 4), "tiles under way in the pipelined loops"),
        ]
        constraints = [
            # Sums, scores and weights a thread, in registers.
            Constraint(
                "registers_fit", "BLOCK_M * (block_d + 2 * BLOCK_N) <= 200 * 32 * num_warps or BLOCK_M < 16"
            ),
            Constraint(
                "shared_fits",
                "(BLOCK_M + 2 * max(1, num_stages - 1) * BLOCK_N) * block_d * element_bytes"
                " + BLOCK_M * BLOCK_N * element_bytes <= shared_bytes_block_optin",
            ),
            Constraint("stages_need_cp_async", "num_stages <= 2 or cp_async == 1"),
            Constraint("keys_used", "BLOCK_N < 2 * kv or BLOCK_N == 16"),
        ]
        if workload.dtype == "f32":
            choices = ("ieee", "tf32x3") if target.limits.get("cp_async") else ("ieee",)
            parameters.append(
                Parameter("INPUT_PRECISION", choices, "f32 products: FMA, or three tensor-core products")
            )
            constraints += [
                # Without tensor cores every product is an instruction in straight-line code.
                Constraint(
                    "code_size",
                    "INPUT_PRECISION == 'tf32x3' or BLOCK_M * BLOCK_N * block_d <= 2048 * 32 * num_warps",
                ),
                # Every warp holds a whole tile of keys as an operand.
                Constraint(
                    "operands_fit",
                    "2 * BLOCK_M * (block_d + BLOCK_N) // (32 * num_warps) + BLOCK_N * block_d // 32 <= 200"
                    " or BLOCK_M < 16",
                ),
            ]
        return parameters, constraints

    def tile_constants(self, workload: Workload, target: Target) -> dict[str, Any]:
        """What the constraints of `tile_space` refer to."""
        group = workload["h"] // heads_of(workload)
        return {
            **self.constants(workload, target), "block_d": block_d(workload), "rows": group * workload["q"],
            "cache_heads": workload["b"] * heads_of(workload),
        }  # fmt: skip

    def source(
        self, text: str, workload: Workload, config: Config, grid: tuple[int, int, int],
        constants: dict[str, Any], workspace: dict[str, tuple[str, int]],
    ) -> Source:  # fmt: skip
        """The source of a program.

        Args:
            text: `module:function`.
            workload, config: what is lowered; tiles are constants by their names.
            grid: of programs.
            constants: those that only this program has.
            workspace: by name, Triton's type and bytes; 0 bytes where it is absent.
        """
        pointer = _POINTERS[workload.dtype]
        paged = bool(workload.option("paged", False))
        signature = {"Q": pointer, "K": pointer, "V": pointer, "block_table": "*i32", "O": pointer}
        signature.update({name: kind for name, (kind, _) in workspace.items()})
        absent = [name for name, (_, size) in workspace.items() if not size]
        absent += [] if paged else ["block_table"]
        signature.update(dict.fromkeys(absent, "constexpr"))
        arguments = tuple(
            Argument(name, "workspace", workspace[name][1]) if name in workspace else Argument(name)
            for name, kind in signature.items()
            if kind != "constexpr"
        )
        values = {
            "H": workload["h"], "Q_LENGTH": workload["q"], "KV": workload["kv"], "D": workload["d"],
            "GROUP": workload["h"] // heads_of(workload),
            "PAGE": int(workload.option("page_size", 16)) if paged else 0, "CAUSAL": masked(workload),
            "SCALE": scale_of(workload) * _LOG2_E, "BLOCK_D": block_d(workload),
            "INPUT_PRECISION": config.get("INPUT_PRECISION", "ieee"),
            "BLOCK_M": config["BLOCK_M"], "BLOCK_N": config["BLOCK_N"], **constants,
        }  # fmt: skip
        options = {
            "signature": signature,
            "constants": {**values, **dict.fromkeys(absent)},
            "divisible": [argument.name for argument in arguments],  # buffers are allocated on 256 bytes
            "num_warps": int(config["num_warps"]),
            "num_stages": int(config["num_stages"]),
        }
        launch = Launch(grid, (32 * int(config["num_warps"]), 1, 1))
        entry = text.partition(":")[2]
        return Source(self.language, text, entry, arguments, 1, launch, options)

    def tile_features(
        self, workload: Workload, config: Config, blocks: int, keys: float, more_bytes: int
    ) -> dict[str, float]:
        """What the analytic model asks for.

        Args:
            workload, config: of a candidate.
            blocks: programs.
            keys: that a program goes over, on average.
            more_bytes: that go to memory and back beside tiles.
        """
        width, size = block_d(workload), workload.element_bytes
        bm, bn, stages = int(config["BLOCK_M"]), int(config["BLOCK_N"]), int(config["num_stages"])
        products = 3 if config.get("INPUT_PRECISION") == "tf32x3" else 1
        return {
            "macs": float(blocks * 2 * bm * keys * width * products),
            "traffic_bytes": float(blocks * (2 * bm + 2 * keys) * workload["d"] * size + more_bytes),
            "steps": max(1.0, keys / bn),
            "stages": float(max(1, stages)),
            "threads": 32.0 * int(config["num_warps"]),
            "shared": float((bm + 2 * max(1, stages - 1) * bn) * width * size),
            "intensity": bm * keys / (bm + keys),
            "blocks": float(blocks),
            "registers": bm * (width + 2 * bn) / (32 * int(config["num_warps"])),
        }
