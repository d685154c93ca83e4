"""FAIR T4 files of the best alone: one a kernel, device and workload, because the format names no problem."""

from collections.abc import Sequence
from pathlib import Path

from tuner.core.measurement import Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Parameter
from tuner.export.best import Best, by
from tuner.export.formats.files import place
from tuner.interchange import write_recorded


def write(rows: Sequence[Best], path: Path) -> list[Path]:
    """One file a kernel, device and workload."""
    groups = by(rows, "kernel", "device", "workload")
    written = []
    for group, (best,) in groups.items():
        file = place(path, group, len(groups), ".t4.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_recorded(recorded(best), file, "t4")
        written.append(file)
    return written


def recorded(best: Best) -> RecordedSpace:
    """A space of one configuration: its time is the middle of what was measured."""
    row = best.row
    trial = RecordedTrial(
        dict(row.config), Status.OK, (row.interval.mid,), row.interval.mid,
        timestamp=row.measured_at.isoformat(sep=" "),
    )  # fmt: skip
    return RecordedSpace(
        row.kernel.name, row.device.name, tuple(size for _, size in row.workload.dims),
        tuple(Parameter(name, (value,)) for name, value in row.config.items()), (trial,), {},
    )  # fmt: skip
