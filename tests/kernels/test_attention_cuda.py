"""What is of attention's CUDA ladder alone; tests/kernels/test_gpu_contract.py runs every rung."""

import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kernels.gpu_cases import Case, draw, small, wrong
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
    assert sorted(RUNGS) == list("0123456")


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


# What keeps a NaN away from queries that do not see it, what a table of pages waits for, and how warpgroups
# hand over slots and turns.
WGMMA = {"GROUPS": 1, "BK": 64, "STAGES": 2, "MIN_BLOCKS": 1}
TMA = {"GROUPS": 2, "BK": 64, "STAGES": 3, "PRODUCER": 1, "PINGPONG": 1, "PERSISTENT": 1, "HEADS": 4,
       "LAG": 8, "MIN_BLOCKS": 1}  # fmt: skip
LEFT, PASSED = "if (among(left, r)) anew(warp * 16 + r);", "if (PINGPONG && step > 0) pass_turn(group);"
READ, DONE = "    slots.values_read();", "    wgmma_wait<0>();"
STUCK = "stopped before all threads finished"
FEW = "b1 h4 q3 kv37 d24 kv_heads2 causal"
# Several tiles of keys a row, warpgroups that skip tiles or have no rows, more visits than two SMs take.
MANY = "b1 h2 q136 kv200 d24 kv_heads2 causal"
MISTAKES = [
    ("1", FEW, None, "if (key >= seen[i]) continue;", "", "special values"),
    ("2", FEW, None, "careful(row, patch + row * STRIDE);", ";", "special values"),
    ("5", FEW, WGMMA, LEFT, ";", "special values"),
    ("3", FEW, None, "if (OPT_CAUSAL && token + k * GROUPS >= seen[r]) continue;", "",
     "special values"),
    ("4", f"{FEW} paged", None, "+ i];\n  __syncthreads();", "+ i];", "race"),
    ("6", FEW, TMA, LEFT, ";", "special values"),
    ("6", MANY, TMA, f"{READ}\n    arrived(own.sum);", "    arrived(own.sum);", STUCK),
    ("6", MANY, TMA, f"{DONE}\n{READ}", f"{READ}\n{DONE}", "wgmma_chain.cuh"),
    ("6", MANY, TMA, PASSED, "", STUCK),
]  # fmt: skip


@pytest.mark.parametrize(("rung", "shape", "config", "old", "new", "found"), MISTAKES)
def test_planted_mistakes_are_seen(
    rung: str, shape: str, config: Config | None, old: str, new: str, found: str, tmp_path: Path
) -> None:
    needs(RUNGS[rung])
    workload = ATTENTION.parse(shape, "f16" if rung in "256" else "f32")
    kernel = Changed(RUNGS[rung], old, new, tmp_path / "sources")
    chosen = small(target("sm_90"), 2) if rung in "56" else SM_80
    config = config or kernel.space(workload, chosen).sample(random.Random(1))
    case = Case(kernel, workload, config, chosen, 1)
    assert found in (wrong(case, tmp_path / "built", no_interpreter) or "")


# One for each way tiles are asked for and handed over; ragged lengths, heads whose rows wrap, pages.
WAYS = [
    ({"PRODUCER": 0, "PINGPONG": 0, "PERSISTENT": 0, "GROUPS": 1, "STAGES": 4}, MANY),
    (
        {"PRODUCER": 0, "PINGPONG": 1, "PERSISTENT": 0, "GROUPS": 4, "STAGES": 4, "HEADS": 1},
        "b1 h2 q140 kv200 d40 kv_heads1 causal",
    ),
    ({"GROUPS": 3}, "b1 h4 q75 kv200 d72 kv_heads2 causal"),
    ({"PERSISTENT": 0}, "b1 h2 q70 kv140 d128 paged page_size32"),
    ({"PINGPONG": 0}, "b1 h8 q40 kv130 d64 kv_heads4"),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("way", "shape"), WAYS)
def test_every_way_to_fetch_tiles_is_right_and_clean(way: dict[str, int], shape: str, tmp_path: Path) -> None:
    kernel, chosen = RUNGS["6"], small(target("sm_90"), 1)
    needs(kernel)
    workload = ATTENTION.parse(shape, "bf16")
    config = kernel.space(workload, chosen).check({**TMA, **way})
    assert wrong(Case(kernel, workload, config, chosen, 3), tmp_path / "built", no_interpreter) is None


def test_who_draws_last_leaves_the_counter_for_the_next_launch(tmp_path: Path) -> None:
    kernel, chosen = RUNGS["6"], small(target("sm_90"), 2)
    needs(kernel)
    workload = ATTENTION.parse(MANY, "f16")
    source = kernel.lower(workload, TMA, chosen)
    assert source.launch is not None and source.launch.grid == (2, 1, 1)
    artifact = CudaEmulatedBuilder(sanitize=True).build(source, chosen, tmp_path)
    inputs = ATTENTION.inputs(workload, 1)
    tensors = {**inputs, "O": inputs["Q"] * 0, "drawn": np.zeros(1, np.int32)}
    result = check_emulated(artifact, chosen, tensors, ["O", "drawn"], initial=["drawn"])
    assert result.completed and not result.findings and result.outputs["drawn"].tolist() == [0]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("shares", "options"),
    [
        ({"GROUPS": 2}, ""),
        ({"GROUPS": 3}, "causal"),
        ({"GROUPS": 4, "PINGPONG": 0}, ""),
        ({"GROUPS": 1, "PINGPONG": 0, "MIN_BLOCKS": 3}, "causal"),
        ({"GROUPS": 1, "PINGPONG": 0, "MIN_BLOCKS": 2}, "paged"),
    ],
)
def test_no_warpgroup_asks_for_registers_that_are_not_there(
    shares: dict[str, int], options: str, tmp_path: Path
) -> None:
    """It would wait for ever: what a block is given at its launch is what it has."""
    kernel, chosen = RUNGS["6"], target("sm_90a")
    needs(kernel)
    workload = ATTENTION.parse(f"b4 h16 q2048 kv2048 d64 {options}", "f16")
    config = kernel.space(workload, chosen).check({**TMA, **shares})
    source = kernel.lower(workload, config, chosen)
    macro = {name: int(value) for name, value in re.findall(r"#define REGISTERS_(\w+) (\d+)", source.text)}
    artifact = registry.builder_of(kernel, chosen).build(source, chosen, tmp_path)
    groups, given = config["GROUPS"], artifact.metrics["registers"]
    assert macro["SHARED_OUT"] and artifact.metrics["spill_bytes"] == 0
    assert groups * macro["TO_MULTIPLY"] + macro["TO_FETCH"] <= (groups + 1) * given


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
