"""The resources of a built GPU kernel, as the metrics of its artifact: the same for every way to a cubin."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tuner.builders.cuda import sass
from tuner.builders.cuda.cubin import Resources, resources
from tuner.core.digest import digest
from tuner.core.errors import BuildError
from tuner.core.kernel import Argument, KernelStep, Source

# Cooperative groups have no other way to the barrier of a grid.
_WHOLE_GRID = re.compile(r"\bthis_grid\s*\(|\bgrid_group\b")


def measured(cubin: bytes, path: Path, source: Source, spills: Mapping[str, int]) -> tuple[KernelStep, ...]:
    """The steps of a source, each with what its kernel takes and does.

    - `registers` (a thread), `stack_bytes` (a thread), `static_shared_bytes`, `dynamic_shared_bytes` and
      their sum `shared_bytes` (a block, without what the system reserves), `code_bytes`;
    - `spill_bytes`: bytes of the stores and loads by which registers went to local memory and back, in the
      code: as ptxas counts them where its log is at hand, else those of the SASS;
    - `cooperative`, 1: its blocks wait for each other (`this_grid`), so that all of them have to run at once
      and it is launched so. Left out where it is not; of a source with several kernels it holds for all;
    - where `nvdisasm` is: `loop_instructions`, `loop_math`, `loop_tensor`, `loop_group_tensor`,
      `loop_math_share`, `loop_macs`, `loop_shared_bytes`, `load_bits`, `load_bytes`, `load_macs` (see
      `sass.Loop`).

    Args:
        cubin: the file's content.
        path: where it lies.
        source: for entries and launches; metrics its steps have already are kept.
        spills: bytes by ptxas, of the kernels it told of.

    Raises:
        ValueError: the cubin has no such kernel.
    """
    found = [resources(cubin, step.entry) for step in source.steps]
    try:
        text = sass.disassemble(path)
    except BuildError:  # resources are known all the same; what only the code tells is left out
        text = ""
    waits = {"cooperative": 1.0} if _WHOLE_GRID.search(source.text) else {}
    return tuple(
        replace(step, metrics={**step.metrics, **_metrics(step, own, text, spills.get(step.entry)), **waits})
        for step, own in zip(source.steps, found, strict=True)
    )


def _metrics(step: KernelStep, found: Resources, text: str, spill_bytes: int | None) -> dict[str, float]:
    dynamic = step.launch.shared_bytes if step.launch else 0
    values: dict[str, float] = {
        "registers": found.registers,
        "stack_bytes": found.stack_bytes,
        "static_shared_bytes": found.static_shared_bytes,
        "dynamic_shared_bytes": dynamic,
        "shared_bytes": found.static_shared_bytes + dynamic,
        "code_bytes": found.code_bytes,
    }
    if spill_bytes is None and text:
        spill_bytes = sass.local_bytes(text, step.entry)
    # Without a log and without the code: a stack is the only sign of spilling there is.
    values["spill_bytes"] = found.stack_bytes if spill_bytes is None else spill_bytes
    loop = sass.main_loop(text, step.entry) if text else None
    if loop:
        values.update(
            loop_instructions=loop.instructions,
            loop_math=loop.math,
            loop_tensor=loop.tensor,
            loop_group_tensor=loop.group,
            loop_math_share=loop.math_share,
            loop_macs=loop.macs,
            loop_shared_bytes=loop.shared_bytes,
            load_bits=loop.load_bits,
            load_bytes=loop.load_bytes,
            load_macs=loop.load_macs,
        )
    return {name: float(value) for name, value in values.items()}


def _plain(argument: Argument) -> list[object]:
    told: list[object] = [argument.name, argument.kind, argument.value]
    return [*told, [_plain(field) for field in argument.fields]] if argument.fields else told


def identity(cubin: bytes, source: Source) -> str:
    """A digest of what runs: the code and how it is started: with another grid, equal code runs otherwise."""
    starts = []
    for step in source.steps:
        launch = step.launch
        start = [list(launch.grid), list(launch.block), launch.shared_bytes] if launch else []
        starts += [step.entry, start, [_plain(a) for a in step.arguments]]
    return digest([cubin.hex(), *starts])
