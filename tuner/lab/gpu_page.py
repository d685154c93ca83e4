"""`docs/gpu-performance.md`: a section a GPU model, of the rows that machines with it measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.lab.comparison_data import Row, Run, measured
from tuner.lab.comparison_page import Kind, PageLayout, body, counted, trials_said, write_page
from tuner.lab.gpu_cases import DTYPES, kind, place
from tuner.lab.least_times import Rest

LEVELS = ("memory",)
HEAD = """# GPU kernels beside the vendors' libraries

Written by `make bench-gpu` from [the rows of all machines](data/gpu-performance.json), a section a GPU model:
a run adds its rows to the section of its own model alone. A line is one interleaved final on one board. Our
CUDA kernels that have a chance at the shape were tuned in that run (which ones, says
`tuner/lab/gpu_kernels.py`); the two fastest, one configuration each, met every library that was installed and
is not 1.5 times slower than the best: of cuBLASLt the fastest of the algorithms that it lists. torch's
products are cuBLAS' and cuBLASLt's; its attention has no output to write to, so that a copy of the result is
part of it. f32 is without TF32, tf32 with it. Sums of 8-bit floats may stay in the tensor cores, in ours and
in cuBLASLt.

"speed over best" is the best library's time over ours: above 1 ours is faster, a tie where the interval
contains 1. A finalist ran in as many processes as the section says, one after the other, and took a turn in
each of 18 rounds in all. The interval is the 95% interval over rounds, widened until it holds the ratio of
each process: so few processes cannot say how a further one would come out. [Other finals](measuring.md) have
nine.

Caches are warm: calls follow each other, and what fits in the L2 cache stays there. Least times: "compute" is
the operations that the definition counts at the peak of the type, as the data sheet says it for this many SMs
at their boost clock, or as it was measured, where that is said below; "memory" is what has to come out of
memory though the L2 cache keeps what it can (formulas and their sources: `tuner/lab/least_times.py`), at the
measured rate of a copy: 0 where everything fits. "rate" is operations a second; of what every tensor once out
of memory takes longer than the arithmetic, bytes of all tensors once a second. "clock" is the SM clock while
our kernel ran in its sweep: large products draw so much power that it falls.
"""

_REST = Rest(
    "fewer operations than the definition counts (Winograd), or a clock above the data sheet's",
    "edges of tiles, the last wave of blocks, the clock under load",
    "latency, too few blocks for all SMs, or instructions that cannot reach it",
)


def section_name(facts: Mapping[str, Any]) -> str:
    """Of a GPU: its product, as the driver names it."""
    return " ".join(str(facts.get("model") or "unknown GPU").split())


def write_section(page: Path, name: str, run: Run) -> None:
    """Puts the rows of a GPU into the page; see `write_page`."""
    write_page(page, name, body(run, LAYOUT), HEAD)


def _title(of: Kind) -> str:
    return ", ".join(filter(None, of))


def _about(about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    processes = sorted({int(row["processes"]) for row in rows if measured(row)})
    board = f"{about.get('sms', '?')} SMs, {about.get('arch', '?')}, CUDA {about.get('driver_cuda', '?')}"
    return [
        f"{counted(rows, about['date'])}; {board}; {trials_said(rows)}, "
        f"{' or '.join(map(str, processes)) or 'no'} processes a finalist.",
        f"Libraries: {', '.join(about.get('libraries', ())) or 'none'}.",
        _peaks(about.get("speeds", {})),
    ]


def _peaks(speeds: Mapping[str, float]) -> str:
    """The rates that least times are of; those measured are named so."""
    parts = []
    for dtype in DTYPES:
        sheet, found = (speeds.get(f"{source}_{dtype}") for source in ("sheet", "measured"))
        if found and sheet:
            parts.append(f"{dtype} {found / 1e12:.1f} (measured; data sheet {sheet / 1e12:.1f})")
        elif sheet:
            parts.append(f"{dtype} {sheet / 1e12:.0f}")
    memory = speeds.get("measured_memory")
    copied = f"Memory: {memory / 1e12:.2f} TB/s by a copy." if memory else "Memory was not measured."
    return f"Peaks in TFLOP/s, of the data sheet: {', '.join(parts) or 'none'}. {copied}"


def _rate(row: Row) -> str:
    if row.get("once_s", 0.0) > (row.get("compute_s") or 0.0):
        return f"{row['bytes'] / row['ours_s'] / 1e12:.2f} TB/s"
    return f"{row['flops'] / row['ours_s'] / 1e12:.1f} TFLOP/s"


def _clock(row: Row) -> str:
    return f"{row['clock_hz'] / 1e6:.0f} MHz" if row.get("clock_hz") else "–"


LAYOUT = PageLayout(
    head=HEAD, kind=kind, title=_title, place=place, about=_about, levels=LEVELS, rest=_REST,
    columns=(("operator", False), ("dtype", False), ("form", False)),
    beside=(("rate", _rate), ("clock", _clock)),
)  # fmt: skip
