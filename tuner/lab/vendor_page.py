"""`docs/cpu-performance.md`: a section a CPU model, each written by the machine that measured it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.core.output_file import put
from tuner.core.stats import Interval
from tuner.lab.vendor_cases import is_frozen
from tuner.lab.vendor_roofline import LEVELS, Roofs, geometric_mean, holds
from tuner.report.text import significant

_HEAD = """# CPU kernels beside the vendors' libraries

Written by `make bench-vendor`, a section a CPU model; a run replaces the section of its own CPU alone. A
line is one interleaved final on one machine: our fastest C++ kernel as tuned in that run, and every
library that was installed. "speed over best" is the best library's time over ours, with its 95% interval:
above 1 ours is faster, a tie where the interval contains 1. In tables of frozen weights a product's B, a
convolution's filters or an attention's keys and values are the same in every call: our kernels and the
libraries' frozen modes, which stand beside their other ones, lay them out ahead, outside of what is timed
(no library has one for attention: keys and values are given to them as they are). In the other tables
nobody does. Roofs are least times (formulas and their sources are in `tuner/lab/vendor_roofline.py`):
arithmetic at the peak of the type's own instruction, where there is one; what must come out of each cache
level; and out of memory. A geometric mean is over the lines of its table.

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
_COLUMNS = (
    "shape", "ours", "time", "best library", "speed over best", "compute", *LEVELS, "held by",
)  # fmt: skip


Kind = tuple[str, str, int, str]
_AHEAD, _IN_CALL = "frozen", "in the call"


def section_name(facts: Mapping[str, Any], fingerprint: str) -> str:
    """Of a CPU: its model as the system names it, and the device's fingerprint, because virtual machines name
    CPUs of several generations alike."""
    model = " ".join(str(facts.get("model") or "unknown CPU").split())
    return f"{model}, {fingerprint}"


def write_page(path: Path, name: str, body: str, head: str = _HEAD) -> None:
    """Puts a section into the page, in the place of the one of the same name; others stay as they are.

    Args:
        path: of the page; made where there is none.
        name: of the section.
        body: its text.
        head: of a page that is made; of one that is there it stays as it is.

    Raises:
        TunerError: the page cannot be read or written.
    """
    try:
        whole = path.read_text() if path.exists() else head
    except (OSError, UnicodeDecodeError) as error:
        raise TunerError(f"{path} cannot be read: {error}") from None
    sections = re.split(r"(?m)^(?=## )", whole)
    kept = [part for part in sections[1:] if part.splitlines()[0] != f"## {name}"]
    parts = [sections[0], *kept, f"## {name}\n\n{body.strip()}\n"]
    put(path, "\n".join(part.strip() + "\n" for part in parts))


def body(run: Mapping[str, Any]) -> str:
    """The section's text.

    Args:
        run: what `tuner.lab.bench_vendor` keeps in its file: `about`, and `cases` by their keys.
    """
    found = list(run["cases"].values())
    kinds = dict.fromkeys(map(_kind, found))
    parts = [_about(run["about"], found), _means(found, list(kinds))]
    for kind in kinds:
        operator, dtype, threads, weights = kind
        title = f"### {operator}, {dtype}, {threads} thread{'s' if threads > 1 else ''}"
        title += f", {weights} weights" * (weights == _AHEAD)
        parts.append(f"{title}\n\n{_table([case for case in found if _kind(case) == kind])}")
    return "\n\n".join(parts)


def _kind(case: Mapping[str, Any]) -> Kind:
    """What shares a table: operator, dtype, threads, and whether weights are laid out ahead."""
    weights = _AHEAD if is_frozen(case["shape"]) else _IN_CALL
    return case["operator"], case["dtype"], case["threads"], weights


def _about(about: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> str:
    measured = [case for case in found if case.get("ours_s")]
    trials = sorted({case["trials"] for case in measured})
    lines = [
        f"{len(measured)} comparisons, the last of {about['date']}; {about['cores']} cores, {about['arch']}"
        f"{', a virtual machine' if about.get('hypervisor') else ''}; "
        f"at most {' or '.join(map(str, trials)) or 'no'} trials a kernel.",
        f"Libraries: {', '.join(about['libraries']) or 'none'}.",
    ]
    for threads, speeds in sorted(about["speeds"].items()):
        rates = ", ".join(
            f"{level} {speeds[level] / 1e9:.0f} GB/s" for level in (*LEVELS[:3], "memory") if level in speeds
        )
        peak = speeds.get("peak")
        flops = f"f32 FMA peak {peak / 1e9:.0f} GFLOP/s, " if peak else ""
        lines.append(f"With {threads} thread{'s' if threads != '1' else ''}: {flops}reading {rates}.")
    return "\n\n".join(lines)


def _means(found: Sequence[Mapping[str, Any]], kinds: Sequence[Kind]) -> str:
    rows = [
        "| operator | dtype | threads | weights | comparisons | geometric mean | least |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for kind in kinds:
        ratios = [case["ratio"][1] for case in found if _kind(case) == kind and case.get("ratio")]
        cells = [*map(str, kind), str(len(ratios)), _times(geometric_mean(ratios))]
        rows.append(f"| {' | '.join([*cells, _times(min(ratios, default=None))])} |")
    return "\n".join(rows)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        f"| --- | --- | ---: | --- | ---: | ---: |{' ---: |' * len(LEVELS)} --- |",
    ]
    for case in rows:
        if not case.get("ours_s"):
            missing = [case["shape"], (case.get("error") or "not measured").replace("|", "/")]
            lines.append(f"| {' | '.join(missing)} |{' |' * (5 + len(LEVELS))}")
            continue
        roofs = Roofs(case["compute_s"], case["levels_s"])
        cells = [
            case["shape"], case["ours"], _seconds(case["ours_s"]), case.get("best") or "–",
            _ratio(case["ratio"]) if case.get("ratio") else "–",
            _seconds(roofs.compute), *(_seconds(roofs.levels.get(level)) for level in LEVELS),
            holds(roofs, case["ours_s"]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _ratio(told: Sequence[float]) -> str:
    interval = Interval(*told)
    tie = " (tie)" if interval.contains(1.0) else ""
    return f"{interval.mid:.2f} [{interval.low:.2f}, {interval.high:.2f}]{tie}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value == 0:
        return "0"
    unit, scale = next(
        (u, s) for u, s in (("ms", 1e3), ("µs", 1e6), ("ns", 1e9)) if value * s >= 1 or u == "ns"
    )
    return f"{significant(value * scale)} {unit}"
