"""Our own JSON: by device and shape, each entry with all it was measured with.

`devices` -> fingerprint -> `name`, `shapes` -> workload key -> entry. `tuner verify-export` reads it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.core.output_file import put
from tuner.export.best import Best

FORMAT = "kernel-tuner-lab/best"
VERSION = 1


def write(rows: Sequence[Best], path: Path) -> list[Path]:
    """One file of everything."""
    devices: dict[str, Any] = {}
    for best in rows:
        row = best.row
        device = devices.setdefault(row.device.fingerprint, {"name": row.device.name, "shapes": {}})
        device["shapes"][row.workload.key] = best.entry
    content = {"format": FORMAT, "version": VERSION, "devices": devices}
    return [put(path, json.dumps(content, indent=2, allow_nan=False) + "\n")]
