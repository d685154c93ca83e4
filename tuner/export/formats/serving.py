"""Configurations of the Triton kernels of vLLM and SGLang: fused mixtures of experts, block-scaled GEMM.

Both read a JSON object from M, the number of tokens, to a launch; of a number that is not there the nearest
is taken. The file's *name* says for what: experts E, columns N, depth K, the device, a dtype and the block of
quantization. The consumers spell that block differently, vLLM `[128,128]` and SGLang `[128, 128]`, and a file
of the wrong name is not found and not missed. Sources: `get_config_file_name` and
`get_w8a8_block_fp8_configs` of vllm-project/vllm and sgl-project/sglang.

A configuration goes out only if its kernel's parameters mean the same there: tiles, the grouping of programs
along M, warps and stages, and nothing beside them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.core.output_file import put
from tuner.core.workload import Workload
from tuner.export.best import Best

# Their name -> what our kernels may call it.
_MEANINGS = {
    "BLOCK_SIZE_M": ("BLOCK_SIZE_M", "BLOCK_M"), "BLOCK_SIZE_N": ("BLOCK_SIZE_N", "BLOCK_N"),
    "BLOCK_SIZE_K": ("BLOCK_SIZE_K", "BLOCK_K"), "GROUP_SIZE_M": ("GROUP_SIZE_M", "GROUP_M"),
    "num_warps": ("num_warps",), "num_stages": ("num_stages",),
}  # fmt: skip
_NEUTRAL = {"SPLIT_K": 1}
"""Parameters that they do not have, with the value at which that makes no difference."""
_DTYPES = {
    "f16": "", "bf16": "", "f32": "float32", "int8": "int8_w8a8", "fp8": "fp8_w8a8", "e4m3": "fp8_w8a8",
    "fp8_e4m3": "fp8_w8a8", "f8": "fp8_w8a8",
}  # fmt: skip


@dataclass(frozen=True)
class Consumer:
    """How one of them spells things.

    Attributes:
        comma: between the two sizes of a block.
        family: what the device of a mixture's file is called, given its name.
        folder: below which its files of mixtures lie, given Triton's version.
    """

    comma: str
    family: Callable[[str], str]
    folder: Callable[[str], str]


def _h200(device: str) -> str:
    """One file for all boards with an H200."""
    return "NVIDIA_H200" if "H200" in device.split("_") else device


CONSUMERS = {
    "vllm": Consumer(",", _h200, lambda version: ""),
    "sglang": Consumer(", ", lambda device: device, lambda version: f"triton_{version.replace('.', '_')}"),
}


def moe_file(consumer: str, experts: int, n: int, device: str, dtype: str, block: Sequence[int] = ()) -> str:
    """The name of a mixture's file: N is what an expert's second product sums over, on one GPU."""
    spelled = CONSUMERS[consumer]
    kind = f",dtype={dtype}" if dtype else ""
    shape = f",block_shape=[{spelled.comma.join(map(str, block))}]" if block else ""
    name = spelled.family(device.replace(" ", "_"))
    return f"E={experts},N={n},device_name={name}{kind}{shape}.json"


def block_file(consumer: str, n: int, k: int, device: str, block: Sequence[int]) -> str:
    """The name of a block-scaled GEMM's file."""
    shape = CONSUMERS[consumer].comma.join(map(str, block))
    return f"N={n},K={k},device_name={device.replace(' ', '_')},dtype=fp8_w8a8,block_shape=[{shape}].json"


def launch_of(best: Best) -> dict[str, int]:
    """A configuration in their words.

    Raises:
        TunerError: the kernel is no Triton kernel, or its parameters do not mean what theirs do.
    """
    row, config = best.row, dict(best.row.config)
    found = {}
    if row.kernel.language != "triton":
        raise TunerError(f"{row.kernel.name} is no Triton kernel: its parameters mean something else there")
    for theirs, ours in _MEANINGS.items():
        name = next((n for n in ours if n in config), None)
        if name is None:
            raise TunerError(f"{row.kernel.name} has no parameter {' or '.join(ours)}, which is needed there")
        found[theirs] = int(config.pop(name))
    for name, value in config.items():
        if _NEUTRAL.get(name) != value:
            raise TunerError(
                f"{row.kernel.name} has {name}={value} at {row.workload.key}, which cannot be said there: "
                + (f"tune with {name}={_NEUTRAL[name]}" if name in _NEUTRAL else "no such parameter is known")
            )
    return found


def _sizes(workload: Workload, names: Sequence[str], what: str) -> list[int]:
    dims = dict(workload.dims)
    missing = [name for name in names if name not in dims]
    if missing:
        raise TunerError(
            f"{what} takes an operator with dimensions {', '.join(names)}; {workload.operator} has "
            f"{', '.join(dims)}"
        )
    return [dims[name] for name in names]


def _block(workload: Workload) -> tuple[int, ...]:
    """Columns and depth of a block that shares a scale; empty where there is none."""
    block = tuple(int(workload.option(name, 0)) for name in ("block_n", "block_k"))
    return block if all(block) else ()


def _dtype(workload: Workload) -> str:
    if workload.dtype not in _DTYPES:
        raise TunerError(f"dtype {workload.dtype} has no name there: known are {', '.join(_DTYPES)}")
    return _DTYPES[workload.dtype]


def _write(files: Mapping[Path, dict[int, dict[str, int]]]) -> list[Path]:
    return [
        put(path, json.dumps({str(m): launches[m] for m in sorted(launches)}, indent=4) + "\n")
        for path, launches in files.items()
    ]


def _moe(consumer: str) -> Callable[[Sequence[Best], Path], list[Path]]:
    def write(rows: Sequence[Best], path: Path) -> list[Path]:
        """Files of a mixture of experts in the folder `path`, by the names that the consumer looks for."""
        files: dict[Path, dict[int, dict[str, int]]] = {}
        for best in rows:
            workload = best.row.workload
            experts, tokens, n = _sizes(workload, ("e", "m", "n"), f"{consumer}-moe")
            name = moe_file(consumer, experts, n, best.row.device.name, _dtype(workload), _block(workload))
            version = best.toolchain[1].split("+")[0] or "unknown"
            files.setdefault(path / CONSUMERS[consumer].folder(version) / name, {})[tokens] = launch_of(best)
        return _write(files)

    return write


def _block_scaled(consumer: str) -> Callable[[Sequence[Best], Path], list[Path]]:
    def write(rows: Sequence[Best], path: Path) -> list[Path]:
        """Files of block-scaled GEMM in the folder `path`, by the names that the consumer looks for."""
        files: dict[Path, dict[int, dict[str, int]]] = {}
        for best in rows:
            workload = best.row.workload
            m, n, k = _sizes(workload, ("m", "n", "k"), f"{consumer}-block-fp8")
            block = _block(workload)
            if _dtype(workload) != "fp8_w8a8" or not block:
                raise TunerError(
                    f"{consumer}-block-fp8 takes GEMM in fp8 with options block_n and block_k, "
                    f"not {workload.key}"
                )
            name = block_file(consumer, n, k, best.row.device.name, block)
            files.setdefault(path / name, {})[m] = launch_of(best)
        return _write(files)

    return write


WRITERS: Mapping[str, Any] = {
    "vllm-moe": _moe("vllm"), "sglang-moe": _moe("sglang"), "vllm-block-fp8": _block_scaled("vllm"),
    "sglang-block-fp8": _block_scaled("sglang"),
}  # fmt: skip
