"""A Python file with a list of `triton.Config`, for `@triton.autotune(configs=CONFIGS)` or a launcher."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.core.output_file import put
from tuner.export.best import Best, by
from tuner.export.formats.files import place

# What `triton.Config` takes besides the kernel's own constants.
_OWN = ("num_warps", "num_stages", "num_ctas", "maxnreg")


def write(rows: Sequence[Best], path: Path) -> list[Path]:
    """One file a kernel and device, of Triton kernels.

    Raises:
        TunerError: none of them is one.
    """
    rows = [best for best in rows if best.row.kernel.language == "triton"]
    if not rows:
        raise TunerError("no Triton kernel is among them: choose one with --kernel")
    groups = by(rows, "kernel", "device")
    return [
        put(place(path, group, len(groups), ".py"), _text(group, members))
        for group, members in groups.items()
    ]


def _text(group: Sequence[str], rows: Sequence[Best]) -> str:
    texts: dict[str, int] = {}
    picked: dict[str, int] = {}
    keys: dict[tuple[int, ...], int] = {}
    notes: dict[int, str] = {}
    for best in rows:
        row = best.row
        number = texts.setdefault(_config(row.config), len(texts))
        notes.setdefault(number, f"{row.workload.key}: {row.time_s:.4g} s, {row.evidence}")
        picked[row.workload.key] = number
        keys[tuple(size for _, size in row.workload.dims)] = number
    dims = ", ".join(_plain(name) for name, _ in rows[0].row.workload.dims)
    lines = [
        f"# Tuned configurations of {_plain(group[0])} on {_plain(group[1])}. Written by kernel-tuner-lab.",
        "import triton", "", "CONFIGS = [",
        *(line for text, n in texts.items() for line in (f"    # {_plain(notes[n])}", f"    {text},")), "]",
        "# The place in CONFIGS of each workload that was tuned.",
        "BY_WORKLOAD = {", *(f"    {key!r}: {n}," for key, n in picked.items()), "}",
    ]  # fmt: skip
    if len(keys) == len(picked):  # of one dtype and one set of options
        lines += [
            f"# The same by ({dims}).",
            "BY_SHAPE = {",
            *(f"    {k!r}: {n}," for k, n in keys.items()),
            "}",
        ]
    return "\n".join([*lines, ""])


def _config(config: Mapping[str, Any]) -> str:
    constants = {name: value for name, value in config.items() if name not in _OWN}
    own = "".join(f", {name}={config[name]!r}" for name in _OWN if name in config)
    return f"triton.Config({constants!r}{own})"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
