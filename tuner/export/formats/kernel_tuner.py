"""Kernel Tuner's results file (version 1.0), which its `TuneResults` and `create_device_targets` read.

Source: the reader's description in kernel_tuner/integration.py. Device names have every run of other
characters than letters and digits replaced by `_`; a problem size is its dimensions joined by `x`; times are
in milliseconds.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from tuner.core.errors import TunerError
from tuner.core.output_file import put
from tuner.export.best import Best, by
from tuner.export.formats.files import place

VERSION = "1.0"


def device_name(name: str) -> str:
    """As the format spells it: `NVIDIA A100-SXM4` gives `NVIDIA_A100_SXM4`."""
    return re.sub("[^0-9a-zA-Z]+", "_", name.strip())


def write(rows: Sequence[Best], path: Path) -> list[Path]:
    """One file a kernel.

    Raises:
        TunerError: two workloads differ in what the format does not hold: dtype or options.
    """
    groups = by(rows, "kernel")
    return [
        put(place(path, group, len(groups), ".json"), _text(group[0], members))
        for group, members in groups.items()
    ]


def _text(kernel: str, rows: Sequence[Best]) -> str:
    data = []
    seen: dict[tuple[str, str], str] = {}
    for best in rows:
        row = best.row
        size = "x".join(str(n) for _, n in row.workload.dims)
        place_ = device_name(row.device.name), size
        if place_ in seen:
            raise TunerError(
                f"a Kernel Tuner results file knows {kernel} at {size} once, there are {seen[place_]} and "
                f"{row.workload.key}: choose with --workload or --device"
            )
        seen[place_] = row.workload.key
        data.append({
            "device_name": place_[0], "problem_size": size, "tunable_parameters": dict(row.config),
            "time": row.time_s * 1e3,
        })  # fmt: skip
    content = {
        "version_number": VERSION, "kernel_name": kernel, "objective": "time",
        "objective_higher_is_better": False, "tunable_parameters": list(rows[0].row.config), "data": data,
    }  # fmt: skip
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
