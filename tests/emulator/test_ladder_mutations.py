"""Every barrier and wait of the CUDA ladders is needed, and the sanitizers say so where it is taken out."""

import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.emulator.emulate import SANITIZED
from tuner import registry
from tuner.core.errors import InvalidSpace
from tuner.core.source_kernel import SourceKernel
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.emulator.check import check_source
from tuner.targets.cuda import target

SOURCES = Path(__file__).resolve().parents[2] / "cuda_src"
LADDERS = sorted({path.parent.name for path in SOURCES.glob("*/*.cu*")})
# The fence on the reading side of an atomic is not among them: it is known not to be missed (README).
STEPS = re.compile(
    r"(__syncthreads\(\)|__syncwarp\([^()]*\)|__pipeline_wait_prior\([^;]*\)|__pipeline_commit\(\)"
    r'|asm volatile\("(?:cp\.async\.(?:wait|commit)|bar\.|barrier\.|wgmma\.[cfw]|fence\.proxy)[^;]*;[^;]*\)'
    r"|wgmma_(?:fence|commit|wait<\d>)\(\)|fence_async_proxy\(\)"
    r"|(?<=\n      )__threadfence\(\));"
)


def sites() -> list[tuple[str, int, int]]:
    """(file within cuda_src, start, end) of each step in the ladders' code, comments left out."""
    found = []
    for ladder in LADDERS:
        for path in sorted([*(SOURCES / ladder).glob("*.cu"), *(SOURCES / ladder).glob("*.cuh")]):
            text = path.read_text()
            for match in STEPS.finditer(text):
                line = text[text.rfind("\n", 0, match.start()) : match.start()]
                if "//" not in line:
                    found.append((f"{ladder}/{path.name}", match.start(), match.end()))
    return found


def small(chosen: Target) -> Target:
    """Four SMs, so that a persistent block works on several tiles of a small matrix."""
    return Target(chosen.kind, chosen.arch, chosen.features, {**chosen.limits, "sm_count": 4})


SHAPES: dict[str, list[dict[str, int | bool]]] = {
    "gemm": [
        {"m": 65, "n": 80, "k": 130},
        {"m": 200, "n": 160, "k": 24},
        {"m": 64, "n": 48, "k": 96},
        {"m": 72, "n": 136, "k": 800, "trans_b": True},
    ],
    "attention": [
        {"b": 1, "h": 2, "q": 70, "kv": 131, "d": 24, "causal": True},
        {"b": 2, "h": 4, "q": 1, "kv": 200, "d": 32, "kv_heads": 2, "paged": True},
        {"b": 2, "h": 4, "q": 3, "kv": 200, "d": 40, "kv_heads": 2},
    ],
}


def workloads(kernel: SourceKernel, dtype: str) -> list[Workload]:
    """Small ones: those above, and of other operators the ragged companions of their example."""
    operator = registry.operator(kernel.operator)
    if kernel.operator in SHAPES:
        return [operator.workload(dtype, **shape) for shape in SHAPES[kernel.operator]]
    return list(operator.companions(operator.parse(operator.example, dtype)))


def finds(kernel: SourceKernel, rng: random.Random) -> bool:
    operator = registry.operator(kernel.operator)
    arch = "sm_90" if "wgmma" in kernel.requires else rng.choice(["sm_75", "sm_80"])
    chosen, workload = small(target(arch)), rng.choice(workloads(kernel, rng.choice(kernel.dtypes)))
    if kernel.unsupported(workload, chosen):
        return False
    try:
        config = kernel.space(workload, chosen).sample(rng)
    except InvalidSpace:
        return False
    tensors = operator.inputs(workload, 1)
    outputs = [spec for spec in operator.signature(workload) if spec.output]
    tensors.update({spec.name: np.zeros(spec.shape, spec.dtype) for spec in outputs})
    source = kernel.lower(workload, config, chosen)
    names = [spec.name for spec in outputs]
    return bool(check_source(SANITIZED, source, chosen, tensors, names, launches=2).findings)


def users_of(name: str, folder: Path) -> list[SourceKernel]:
    """The kernels whose text a file is part of, those that use most of it first."""
    if name.endswith(".cu"):
        return [registry.source_kernel(folder / name)]
    kernels = [registry.source_kernel(path) for path in sorted(folder.glob("*/*.cu"), reverse=True)]
    return [kernel for kernel in kernels if (folder / name).resolve() in kernel.source_files()]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "start", "end"), sites(), ids=lambda value: str(value))
def test_a_step_left_out_is_found(name: str, start: int, end: int, tmp_path: Path) -> None:
    folder = tmp_path / "cuda_src"
    for ladder in LADDERS:
        shutil.copytree(SOURCES / ladder, folder / ladder)
    text = (folder / name).read_text()
    (folder / name).write_text(f"{text[:start]};{text[end:]}")
    kernels = users_of(name, folder)
    assert kernels, f"no kernel uses {name}"
    rng = random.Random(0)
    # Not every configuration reaches every line: up to sixty-four tries a kernel.
    assert any(finds(kernel, rng) for _ in range(64) for kernel in kernels)
