"""Comparisons as data that travels: files of `docs/data/` in which the runs of many machines meet.

A run adds its rows to the section of its device, and the pages under `docs/` are written from the whole
section. A row that is measured again takes the place of the old one, with its own date and trials; one that
could not be measured never does. In the file a row has a line of its own, so that two machines' rows merge.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.core.output_file import put

Row = Mapping[str, Any]
Run = dict[str, Any]
"""`about` a device, with its `model` (the section's name) and the `date` of its last row, and `cases`: rows
by their keys."""

# Of a row: what it is of; and which are numbers, most of them of seconds, or none.
_TEXTS = ("operator", "shape", "dtype", "date")
_NUMBERS = ("ours_s", "best_s", "compute_s", "trials")


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        operator, shape, dtype: as the command line has them.
    """

    operator: str
    shape: str
    dtype: str

    @property
    def key(self) -> str:
        """Its name in the files of results."""
        return f"{self.operator} {self.dtype} {self.shape}"


def read_data(path: Path, numbers: Sequence[str] = ()) -> dict[str, Run]:
    """The sections of such a file, or of what a bench keeps in `results/`, by their names.

    Args:
        path: of the file.
        numbers: which every row has besides: rows of CPUs are none of GPUs.

    Returns:
        Nothing where there is no file.

    Raises:
        TunerError: it cannot be read, or is no file of comparisons.
    """
    try:
        found = json.loads(path.read_text()) if path.exists() else {}
        if not isinstance(found, dict):
            raise ValueError("it is no table")
        runs = [_checked_run(run, numbers) for run in found.values()]
        return {str(run["about"]["model"]): run for run in runs}
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TunerError(
            f"{path} is no file of comparisons ({reason}): name one of docs/data/, or one that a bench keeps"
        ) from None


def add_run(data: dict[str, Run], run: Mapping[str, Any]) -> str:
    """Adds what a run found to its section, which is made where there is none.

    Args:
        data: sections by name; changed.
        run: of one device.

    Returns:
        The section's name.
    """
    name = str(run["about"]["model"])
    section = data.setdefault(name, {"about": {}, "cases": {}})
    section["about"] = _about(section["about"], run["about"])
    for key, row in run["cases"].items():
        if _replaces(row, section["cases"].get(key)):
            section["cases"][key] = dict(row)
    return name


def write_data(path: Path, data: Mapping[str, Run]) -> None:
    """The file that `read_data` reads, a row a line; whole, or as it was.

    Raises:
        TunerError: it cannot be written.
    """
    sections = []
    for name, run in data.items():
        rows = ",\n".join(f"   {_line(key)}: {_line(row)}" for key, row in run["cases"].items())
        cases = f"{{\n{rows}\n  }}" if rows else "{}"
        sections.append(f' {_line(name)}: {{\n  "about": {_line(run["about"])},\n  "cases": {cases}\n }}')
    put(path, "{\n" + ",\n".join(sections) + "\n}\n")


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def measured(row: Row) -> bool:
    """Whether it has a time of ours; else it says why there is none."""
    return bool(row.get("ours_s"))


def _replaces(new: Row, old: Row | None) -> bool:
    """An older file that is merged later takes nothing back."""
    if old is None or not measured(old):
        return True
    return measured(new) and str(new["date"]) >= str(old["date"])


def _about(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The later one's words; every version of a library that some row was compared with."""
    first, last = sorted((old, new), key=lambda each: str(each.get("date", "")))
    libraries = dict.fromkeys([*first.get("libraries", ()), *last.get("libraries", ())])
    speeds = {**first.get("speeds", {}), **last.get("speeds", {})}
    return {**first, **last, "libraries": list(libraries), "speeds": speeds}


def _checked_run(run: object, numbers: Sequence[str]) -> Run:
    """Raises `ValueError` for what is no run."""
    if not isinstance(run, dict) or not all(isinstance(run.get(n), dict) for n in ("about", "cases")):
        raise ValueError("a section has `about` and `cases`")
    about, cases = run["about"], run["cases"]
    if not all(isinstance(about.get(name), str) for name in ("model", "date")):
        raise ValueError("`about` has a `model` and a `date`")
    libraries, speeds = about.get("libraries", []), about.get("speeds", {})
    if not isinstance(libraries, list) or not isinstance(speeds, dict):
        raise ValueError("`libraries` is a list and `speeds` a table")
    tables = [each if isinstance(each, dict) else {"": each} for each in speeds.values()]
    if not all(_numbers(list(table.values())) for table in tables):
        raise ValueError("`speeds` are numbers")
    for key, row in cases.items():
        if not isinstance(row, dict) or (wrong := _wrong(row, numbers)):
            raise ValueError(f"row {key!r}: {wrong if isinstance(row, dict) else 'it is no table'}")
    return run


def _wrong(row: Row, numbers: Sequence[str]) -> str:
    """What of a row is not as it should be; empty where all is."""
    for name in _TEXTS:
        if not isinstance(row.get(name), str):
            return f"{name} is a text"
    for name in numbers:
        if not _numbers([row.get(name)]):
            return f"{name} is a number"
    for name in _NUMBERS:
        if row.get(name) is not None and not _numbers([row[name]]):
            return f"{name} is a number"
    if row.get("ratio") is not None and not (
        _numbers(row["ratio"]) and len(row["ratio"]) == 3 and min(row["ratio"]) > 0
    ):
        return "ratio is three numbers above 0"
    if measured(row) and not (isinstance(row.get("ours"), str) and isinstance(row.get("levels_s"), dict)):
        return "a measured row has `ours` and `levels_s`"
    if measured(row) and not _numbers(list(row["levels_s"].values())):
        return "levels_s are numbers of seconds"
    return ""


def _numbers(values: object) -> bool:
    return isinstance(values, Sequence) and all(
        isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in values
    )
