"""Kernels that were compiled for a device that is not here: resources, emulated verdict, predicted rank;
no time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.core.space import Config
from tuner.report.campaign_view import KernelView, PartView


@dataclass(frozen=True)
class PaperRow:
    """A kernel on paper.

    Attributes:
        kernel, language: which.
        target: compiled for.
        config: its configuration of the least predicted time; none where nothing compiled.
        registers: of a thread; `None` where the compiler did not tell, as of the next two.
        shared_bytes: of a block.
        spill_bytes: of a thread, in local memory.
        emulated: in words: on how many shapes it ran right on the emulator, or that it was not run.
        rank: by the model's time among the kernels of the table, 1 the least; `None` where nothing compiled.
        of: how many kernels have a rank.
        trials: proposals of its sweep.
        why: why there is no rank.
    """

    kernel: str
    language: str
    target: str
    config: Config
    registers: float | None
    shared_bytes: float | None
    spill_bytes: float | None
    emulated: str
    rank: int | None
    of: int
    trials: int
    why: str = ""

    @property
    def was_emulated(self) -> bool:
        """Whether it ran right on the emulator."""
        return self.emulated.startswith("right")

    @property
    def resources(self) -> str:
        """`96 registers, 32.0 KiB shared, no spills`."""
        told = []
        if self.registers is not None:
            told.append(f"{self.registers:.0f} registers")
        if self.shared_bytes is not None:
            shared = f"{self.shared_bytes / 1024:.1f} KiB shared"
            told.append(shared if self.shared_bytes else "no shared memory")
        if self.spill_bytes is not None:
            told.append(f"{self.spill_bytes:.0f} bytes spilled" if self.spill_bytes else "no spills")
        return ", ".join(told) or "-"

    @property
    def place(self) -> str:
        """`rank 2 of 9`, which nobody takes for a time."""
        return f"rank {self.rank} of {self.of}" if self.rank is not None else "no rank"


def paper_rows(part: PartView) -> list[PaperRow]:
    """The kernels of a part for which nothing was measured, by rank; those without one last."""
    ranked = sorted(
        (k for k in part.kernels if k.best is not None),
        key=lambda k: k.best.measurement.time_s or 0.0,  # type: ignore[union-attr]
    )
    places = {kernel.name: i for i, kernel in enumerate(ranked, 1)}
    rows = [_row(kernel, places, part.campaign.spec.target) for kernel in part.kernels]
    return sorted(rows, key=lambda row: (row.rank is None, row.rank, row.kernel))


def _row(kernel: KernelView, places: Mapping[str, int], target: str) -> PaperRow:
    metrics: Mapping[str, float] = kernel.best.measurement.metrics if kernel.best is not None else {}
    shapes = int(metrics.get("emulated_shapes", 0))
    emulated = f"right on {shapes} shape{'s' * (shapes > 1)}, emulated" if shapes else "not emulated"
    counts = ", ".join(f"{status}: {count}" for status, count in kernel.statuses.items())
    return PaperRow(
        kernel=kernel.name,
        language=kernel.record.language,
        target=target,
        config=kernel.best.key.config if kernel.best is not None else {},
        registers=metrics.get("registers"),
        shared_bytes=metrics.get("shared_bytes"),
        spill_bytes=metrics.get("spill_bytes"),
        emulated=emulated if kernel.best is not None else "-",
        rank=places.get(kernel.name),
        of=len(places),
        trials=kernel.trials,
        why="" if kernel.best is not None else f"nothing right to rank ({counts or 'no trials'})",
    )


def paper_words(rows: Sequence[PaperRow]) -> str:
    """One sentence for below a table."""
    if not rows:
        return ""
    first = rows[0]
    best = f"; the model puts {first.kernel} first" if first.rank is not None else ""
    return (
        f"{len(rows)} kernels were compiled for {first.target}, which is not here: their resources are the "
        f"compiler's, their verdict the emulator's, their rank a model's{best}. Nothing of them was measured."
    )
