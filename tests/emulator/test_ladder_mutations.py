"""Every barrier and wait of the CUDA ladder is needed, and the sanitizers say so where it is taken out."""

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
from tuner.devices.emulator.check import check_source
from tuner.operators.gemm import Gemm
from tuner.targets.cuda import target

SOURCES = Path(__file__).resolve().parents[2] / "cuda_src"
FOLDERS = ("gemm", "common")
# The fence on the reading side of an atomic is not among them: it is known not to be missed (README).
STEPS = re.compile(
    r"(__syncthreads\(\)|__syncwarp\(\)|__pipeline_wait_prior\([^;]*\)|__pipeline_commit\(\)"
    r"|(?<=\n      )__threadfence\(\));"
)


def sites() -> list[tuple[str, int, int]]:
    """(file, start, end) of each step in the ladder's code, comments left out."""
    found = []
    for path in sorted(p for folder in FOLDERS for p in (SOURCES / folder).glob("*.cu*")):
        text = path.read_text()
        for match in STEPS.finditer(text):
            line = text[text.rfind("\n", 0, match.start()) : match.start()]
            if "//" not in line:
                found.append((str(path.relative_to(SOURCES)), match.start(), match.end()))
    return found


def small(chosen: Target) -> Target:
    """Four SMs, so that a persistent block works on several tiles of a small matrix."""
    return Target(chosen.kind, chosen.arch, chosen.features, {**chosen.limits, "sm_count": 4})


def finds(kernel: SourceKernel, rng: random.Random) -> bool:
    gemm = Gemm()
    chosen = small(target(rng.choice(["sm_75", "sm_80"])))
    shape = dict(zip("mnk", rng.choice([(65, 80, 130), (200, 160, 24), (64, 48, 96)]), strict=True))
    workload = gemm.workload(rng.choice(kernel.dtypes), **shape)
    if kernel.unsupported(workload, chosen):
        return False
    try:
        config = kernel.space(workload, chosen).sample(rng)
    except InvalidSpace:
        return False
    tensors = gemm.inputs(workload, 1)
    outputs = [spec for spec in gemm.signature(workload) if spec.output]
    tensors.update({spec.name: np.zeros(spec.shape, spec.dtype) for spec in outputs})
    source = kernel.lower(workload, config, chosen)
    names = [spec.name for spec in outputs]
    return bool(check_source(SANITIZED, source, chosen, tensors, names, launches=2).findings)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "start", "end"), sites(), ids=lambda value: str(value))
def test_a_step_left_out_is_found(name: str, start: int, end: int, tmp_path: Path) -> None:
    for folder in FOLDERS:
        shutil.copytree(SOURCES / folder, tmp_path / folder)
    changed = tmp_path / name
    text = changed.read_text()
    changed.write_text(f"{text[:start]};{text[end:]}")
    users = [changed] if name.endswith(".cu") else sorted((tmp_path / "gemm").glob("[4-9]*.cu"), reverse=True)
    kernels = list(map(registry.source_kernel, users))
    rng = random.Random(0)
    # Not every configuration reaches every line: sixteen tries a kernel.
    assert any(finds(kernel, rng) for _ in range(16) for kernel in kernels)
