"""What is of attention's CUDA ladder alone; tests/kernels/test_gpu_contract.py runs every rung."""

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.kernels.gpu_cases import Case, draw, wrong
from tests.kernels.test_gpu_contract import needs
from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.kernel import Kernel, Source
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.devices.emulator.check import check_emulated
from tuner.targets.cuda import target

ATTENTION = registry.operator("attention")
RUNGS = {
    k.source_files()[0].name[0]: k
    for k in registry.kernels_of("attention", "cuda")
    if k.language == "nvrtc"
}  # fmt: skip
SM_80 = target("sm_80")


def no_interpreter() -> Any:
    raise AssertionError("nothing here is Triton")


def longer(case: Case) -> Case:
    """The case with a configuration for many keys, and many queries where it has several: tiles straddle and
    overshoot the few there are, and parts of the keys are empty."""
    sizes = {**dict(case.workload.options), **dict(case.workload.dims), "kv": 2048}
    many = [ATTENTION.workload(case.workload.dtype, **{**sizes, "q": q}) for q in (512, case.workload["q"])]
    if case.workload["q"] == 1 or case.kernel.unsupported(many[0], case.target):
        many.pop(0)
    config = case.kernel.space(many[0], case.target).sample(random.Random(case.seed))
    return replace(case, config=config)


def test_the_ladder_is_there() -> None:
    assert sorted(RUNGS) == list("012345")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("rung", RUNGS)
def test_twenty_configurations_for_many_tokens_on_few(rung: str, part: int, tmp_path: Path) -> None:
    kernel = RUNGS[rung]
    needs(kernel)
    for number in range(100 + 5 * part, 105 + 5 * part):
        case = longer(draw(kernel, number))
        assert wrong(case, tmp_path / str(number), no_interpreter) is None


class Changed(Kernel):
    """A rung with a piece of its file, or of what it includes, replaced."""

    def __init__(self, rung: Kernel, old: str, new: str, folder: Path) -> None:
        here = rung.source_files()[0].parent.parent
        for name in ("attention", "common"):
            shutil.copytree(here / name, folder / name)
        files = [folder / path.relative_to(here) for path in rung.source_files()]
        (changed,) = [path for path in files if old in path.read_text()]
        changed.write_text(changed.read_text().replace(old, new, 1))
        self._own = registry.source_kernel(files[0])
        self.name, self.operator, self.language = self._own.name, rung.operator, rung.language
        self.dtypes, self.options = rung.dtypes, rung.options

    def space(self, workload: Workload, target: Target) -> Any:
        return self._own.space(workload, target)

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        return self._own.lower(workload, config, target)

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        return self._own.unsupported(workload, target)


# What keeps a NaN away from queries that do not see it, and what a table of pages waits for.
MISTAKES = [
    ("1", "if (key >= seen[i]) continue;", "", "special values"),
    ("2", "careful(row, patch + row * STRIDE);", ";", "special values"),
    ("5", "if (special(r)) careful(first + r);", ";", "special values"),
    ("3", "if (OPT_CAUSAL && token + k * GROUPS >= seen[r]) continue;", "", "special values"),
    ("4", "+ i];\n  __syncthreads();", "+ i];", "race"),
]  # fmt: skip


@pytest.mark.parametrize(("rung", "old", "new", "found"), MISTAKES)
def test_planted_mistakes_are_seen(rung: str, old: str, new: str, found: str, tmp_path: Path) -> None:
    needs(RUNGS[rung])
    dtype = "f16" if rung in "25" else "f32"
    workload = ATTENTION.parse(f"b1 h4 q3 kv37 d24 kv_heads2 causal{' paged' if rung == '4' else ''}", dtype)
    kernel = Changed(RUNGS[rung], old, new, tmp_path / "sources")
    chosen = target("sm_90") if rung == "5" else SM_80
    config = kernel.space(workload, chosen).sample(random.Random(1))
    if rung == "5":
        config = {"GROUPS": 1, "BK": 64, "STAGES": 2, "MIN_BLOCKS": 1}
    case = Case(kernel, workload, config, chosen, 1)
    assert found in (wrong(case, tmp_path / "built", no_interpreter) or "")


@pytest.mark.parametrize(
    ("rung", "dtype", "shape", "config"),
    [
        ("1", "f16", "h1 q64 kv128", {"BQ": 32, "BK": 32, "TM": 4, "TN": 2, "PAD": 1}),
        ("1", "f32", "h1 q64 kv128", {"BQ": 16, "BK": 64, "TM": 2, "TN": 8, "PAD": 1}),
        ("3", "f16", "h4 q1 kv256 kv_heads1", {"ROWS": 4, "KEY_LANES": 8, "THREADS": 64, "SPLIT": 2}),
    ],
)  # fmt: skip
def test_shared_memory_is_used_without_bank_conflicts(
    rung: str, dtype: str, shape: str, config: Config, tmp_path: Path
) -> None:
    """Rows of 16-bit elements that lanes read 16 bytes of, probabilities, the sums that decoding leaves."""
    kernel, workload = RUNGS[rung], ATTENTION.parse(f"b1 {shape} d64", dtype)
    needs(kernel)
    space = kernel.space(workload, SM_80)
    others = {name: min(values) for name, values in ((p.name, p.values) for p in space.parameters)}
    source = kernel.lower(workload, space.check({**others, **config}), SM_80)
    artifact = CudaEmulatedBuilder(sanitize=True).build(source, SM_80, tmp_path)
    inputs = ATTENTION.inputs(workload, 1)
    result = check_emulated(artifact, SM_80, {**inputs, "O": inputs["Q"] * 0}, ["O"])
    assert result.completed and {use.access for use in result.banks} == {"read", "write"}
    assert [str(use) for use in result.banks if use.conflicts] == []


def test_tensor_cores_read_shared_memory_without_bank_conflicts(tmp_path: Path) -> None:
    kernel = RUNGS["2"]
    needs(kernel)
    workload = ATTENTION.parse("b1 h1 q64 kv80 d40 causal", "f16")
    config = {"WARPS": 2, "TILES": 2, "BK": 32, "KEEP_Q": 1, "MIN_BLOCKS": 1}
    source = kernel.lower(workload, kernel.space(workload, SM_80).check(config), SM_80)
    artifact = CudaEmulatedBuilder(sanitize=True).build(source, SM_80, tmp_path)
    inputs = ATTENTION.inputs(workload, 1)
    result = check_emulated(artifact, SM_80, {**inputs, "O": inputs["Q"] * 0}, ["O"])
    loads = [use for use in result.banks if use.file.endswith("mma.cuh")]
    assert len(loads) == 2 and all(use.requests and not use.conflicts for use in loads)
