"""`docs/cpu-performance.md`: a section a CPU model, of the rows that machines with it measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.lab.comparison_data import Row, Run
from tuner.lab.comparison_page import Kind, PageLayout, body, counted, trials_said, write_page
from tuner.lab.vendor_cases import is_frozen, place
from tuner.lab.vendor_roofline import LEVELS

HEAD = """# CPU kernels beside the vendors' libraries

Written by `make bench-vendor` from [the rows of all machines](data/cpu-performance.json), a section a CPU
model: a run adds its rows to the section of its own CPU alone. A line is one interleaved final on one
machine: our fastest C++ kernel as tuned in that run, and every library that was installed. "speed over best"
is the best library's time over ours, with its 95% interval: above 1 ours is faster, a tie where the interval
contains 1. In tables of frozen weights a product's B, a convolution's filters or an attention's keys and
values are the same in every call: our kernels and the libraries' frozen modes, which stand beside their other
ones, lay them out ahead, outside of what is timed (no library has one for attention: keys and values are
given to them as they are). In the other tables nobody does. Roofs are least times (formulas and their sources
are in `tuner/lab/least_times.py`): arithmetic at the peak of the type's own instruction, where there is one;
what must come out of each cache level; and out of memory. A geometric mean is over the lines of its table.

Kernels named `split` multiply f32 in tile registers (AMX), whose numbers are bf16: a number is the sum of
three of those, a product six of theirs, and no tile is bound by the peak of f32's own instruction.
Measured against f64 at 512 x 512 x 512, the largest error as a share of the sum of magnitudes, beside
`cpp_packed`'s: 1.4e-7 and 3.4e-7 of normally distributed numbers, 6.4e-7 and 14.6e-7 of numbers from 0 to
1, 8.0e-7 and 6.7e-7 of both signs from 2^-40 to 2^40. Numbers below 2^-102 (2e-31) have no room for their
low parts: of operands that are all of about 1e-35 the error is 3e-4 of the sum, of about 1e-37 2e-2, and
what is below 2^-126 counts as zero. Infinities and NaN are as in f32. Convolutions (`conv_amx_split`) are
sums of the same products, with the same limits. MKL's modes of this kind
(`MKL_BLAS_COMPUTE_MODE=FLOAT_TO_BF16X3`) change nothing on a CPU.
"""
_AHEAD, _IN_CALL = "frozen", "in the call"


def section_name(facts: Mapping[str, Any], fingerprint: str) -> str:
    """Of a CPU: its model as the system names it, and the device's fingerprint, because virtual machines name
    CPUs of several generations alike."""
    model = " ".join(str(facts.get("model") or "unknown CPU").split())
    return f"{model}, {fingerprint}"


def write_section(page: Path, name: str, run: Run) -> None:
    """Puts the rows of a CPU into the page; see `write_page`."""
    write_page(page, name, body(run, LAYOUT), HEAD)


def _kind(row: Row) -> Kind:
    """Operator, dtype, threads, and whether weights are laid out ahead."""
    return row["operator"], row["dtype"], row["threads"], _AHEAD if is_frozen(row["shape"]) else _IN_CALL


def _title(kind: Kind) -> str:
    operator, dtype, threads, weights = kind
    ahead = f", {weights} weights" * (weights == _AHEAD)
    return f"{operator}, {dtype}, {threads} thread{'s' if threads > 1 else ''}{ahead}"


def _about(about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    virtual = ", a virtual machine" if about.get("hypervisor") else ""
    machine = f"{about.get('cores', '?')} cores, {about.get('arch', '?')}{virtual}"
    lines = [
        f"{counted(rows, about['date'])}; {machine}; {trials_said(rows)}.",
        f"Libraries: {', '.join(about.get('libraries', ())) or 'none'}.",
    ]
    for threads, speeds in sorted(about.get("speeds", {}).items()):
        rates = ", ".join(f"{level} {speeds[level] / 1e9:.0f} GB/s" for level in LEVELS if level in speeds)
        peak = speeds.get("peak")
        flops = f"f32 FMA peak {peak / 1e9:.0f} GFLOP/s, " if peak else ""
        lines.append(f"With {threads} thread{'s' if threads != '1' else ''}: {flops}reading {rates}.")
    return lines


LAYOUT = PageLayout(
    head=HEAD, kind=_kind, title=_title, place=place, about=_about, levels=LEVELS,
    columns=(("operator", False), ("dtype", False), ("threads", True), ("weights", False)),
)  # fmt: skip
