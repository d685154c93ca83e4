"""Triton GEMM: grouped ordering, split-K in one launch, fused bias and activation."""

from typing import Any

from tuner.core.activations import activation_of
from tuner.core.integers import ceildiv
from tuner.core.kernel import Argument, Kernel, Launch, Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import ACTIVATED
from tuner.schedules.triton_types import lacking

# Triton's names for the element types of A and B, and of C, bias and D; NumPy's, for the signature.
_POINTERS = {
    "f32": ("*fp32", "*fp32"), "f16": ("*fp16", "*fp16"), "int8": ("*i8", "*i32"),
    "bf16": ("*bf16", "*bf16"), "tf32": ("*fp32", "*fp32"), "e4m3": ("*fp8e4nv", "*bf16"),
    "e5m2": ("*fp8e5", "*bf16"),
}  # fmt: skip


class TritonGemm(Kernel):
    """The kernel of `_triton_gemm`, compiled for one shape: divisibility of m, n and k is built in.

    Triton itself chooses the thread tiles, shared memory layouts and tensor-core instructions.
    """

    name = "triton"
    operator = "gemm"
    language = "triton"
    summary = "Triton: tl.dot tiles, grouped ordering, split-K, fused epilogue."
    dtypes = ("f32", "f16", "int8", "bf16", "tf32", "e4m3", "e5m2")
    target_kinds = ("cuda",)
    claims = ("wide_loads", "tensor_cores:f16")
    options = ACTIVATED

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also dtypes that the target's tensor cores do not know."""
        return super().unsupported(workload, target) or lacking(workload, target)

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles, grouping, split, warps, stages; for f32 also how products are formed."""
        small = 32 if workload.element_bytes == 1 else 16  # the least depth of a tensor-core operation
        parameters = [
            Parameter("BLOCK_M", (16, 32, 64, 128, 256), "rows of D a program"),
            Parameter("BLOCK_N", (16, 32, 64, 128, 256), "columns of D a program"),
            Parameter("BLOCK_K", tuple(v for v in (16, 32, 64, 128) if v >= small), "depth of a tile"),
            Parameter("GROUP_M", (1, 4, 8, 16), "rows of programs visited together"),
            Parameter("SPLIT_K", (1, 2, 4, 8, 16), "programs that share the depth of a tile of D"),
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
            Constraint(
                "shared_fits",
                "max(1, num_stages - 1) * (BLOCK_M + BLOCK_N) * BLOCK_K * element_bytes <= "
                "shared_bytes_block_optin",
            ),
            Constraint("shares_have_depth", "SPLIT_K == 1 or SPLIT_K * BLOCK_K <= k"),
            Constraint("grid_fits", "batch <= max_grid_z"),
            Constraint("workspace_fits", "SPLIT_K == 1 or SPLIT_K * m * n * batch * 4 <= 2 ** 30"),
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
        return SearchSpace(parameters, constraints, self.constants(workload, target))

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The name of the function, its constants, its signature, and what is divisible by 16."""
        m, n, k = workload["m"], workload["n"], workload["k"]
        batch = int(workload.option("batch", 1))
        narrow, wide = _POINTERS[workload.dtype]
        integer = workload.dtype == "int8"
        tile = {name: int(config[name]) for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP_M", "SPLIT_K")}
        tiles = ceildiv(m, tile["BLOCK_M"]) * ceildiv(n, tile["BLOCK_N"])
        split = tile["SPLIT_K"]
        alpha, beta = workload.option("alpha", 1.0), workload.option("beta", 0.0)
        constants: dict[str, Any] = {
            "TRANS_A": workload.option("trans_a", False),
            "TRANS_B": workload.option("trans_b", False),
            "ALPHA": int(alpha) if integer else alpha,
            "BETA": int(beta) if integer else beta,
            "HAS_BIAS": workload.option("bias", False),
            "ACTIVATION": activation_of(workload),
            "INTEGER": integer,
            "EVEN_K": k % (tile["BLOCK_K"] * split) == 0,
            "INPUT_PRECISION": config.get("INPUT_PRECISION", "tf32" if workload.dtype == "tf32" else "ieee"),
            **tile,
        }
        pointers = {"A": narrow, "B": narrow, "C": wide, "bias": wide, "D": wide}
        pointers.update(partial="*i32" if integer else "*fp32", arrived="*i32")
        absent = {
            "C": beta == 0,
            "bias": not constants["HAS_BIAS"],
            "partial": split == 1,
            "arrived": split == 1,
        }
        signature = {name: "constexpr" if absent.get(name) else kind for name, kind in pointers.items()}
        constants.update({name: None for name, gone in absent.items() if gone})
        signature.update(m="i32", n="i32", k="i32")
        sizes = {"m": m, "n": n, "k": k}
        workspace = {"partial": batch * split * m * n * 4, "arrived": batch * tiles * 4}
        arguments = [
            Argument(name, "workspace", workspace[name]) if name in workspace else Argument(name)
            for name, kind in signature.items()
            if kind.startswith("*")
        ]
        arguments += [Argument(name, "int32", size) for name, size in sizes.items()]
        options = {
            "signature": signature,
            "constants": constants,
            # Buffers are allocated on 256 bytes; a batch's matrices start on 16 where the sizes say so.
            "divisible": [n for n, kind in signature.items() if kind[0] == "*" or sizes.get(n, 1) % 16 == 0],
            "num_warps": int(config["num_warps"]),
            "num_stages": int(config["num_stages"]),
        }
        threads = 32 * int(config["num_warps"])
        launch = Launch((tiles, split, batch), (threads, 1, 1))
        text = "tuner.schedules.gemm.triton.program:gemm"
        return Source(self.language, text, "gemm", tuple(arguments), 1, launch, options)

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """Tile area, intensity, bytes, programs; what the analytic model asks for."""
        m, n, k = workload["m"], workload["n"], workload["k"]
        batch, size = int(workload.option("batch", 1)), workload.element_bytes
        bm, bn, bk = (int(config[name]) for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        split, warps, stages = (int(config[name]) for name in ("SPLIT_K", "num_warps", "num_stages"))
        tiles = batch * ceildiv(m, bm) * ceildiv(n, bn)
        # Sums of a split tile go out to memory and come back.
        partial = 2 * 4 * split * batch * m * n if split > 1 else 0
        # tf32x3 is three tensor-core products for one.
        products = 3 if config.get("INPUT_PRECISION") == "tf32x3" else 1
        return {
            "macs": float(tiles * bm * bn * k * products),
            "traffic_bytes": float(tiles * (bm + bn) * k * size + partial),
            "steps": ceildiv(k, bk * split),
            "stages": float(max(1, stages)),
            "threads": 32.0 * warps,
            "shared": float(max(1, stages - 1) * (bm + bn) * bk * size),
            "intensity": bm * bn / (bm + bn),
            "blocks": float(tiles * split),
            "registers": bm * bn / (32 * warps),
        }
