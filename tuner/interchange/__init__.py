"""Reads and writes the formats of other autotuners; imports only `tuner.core`.

`read_recorded` here finds out which format a file has; each format has a file of its own. What others
measured comes in as a `RecordedSpace`, which `engine/recorded` puts into the store. Files may come from
anybody: whatever is wrong with one is one line that names the place.
"""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tuner.core.errors import InterchangeError, UnknownName
from tuner.core.output_file import put
from tuner.core.recorded import RecordedSpace
from tuner.interchange import best_files, fair_t4, kernel_tuner, ktt, triton_cache
from tuner.interchange._reading import NotJson, parse_json, read_text, shown
from tuner.interchange._unfinished import whole_entries

_HEAD = 1000
"""Characters at a file's beginning in which its kind is named."""

FORMATS: dict[str, Callable[[RecordedSpace], str]] = {
    "t4": fair_t4.dumps,
    "kernel-tuner": kernel_tuner.dumps,
}


def read_recorded(path: Path, kernel: str | None = None, device: str | None = None) -> RecordedSpace:
    """A recorded space from a Kernel Tuner cache, a FAIR T4 file, KTT's or Triton's results, by its content.

    Plain or gzipped. Of a cache that is still being written all whole configurations are read, and `notes` of
    what is returned say so.

    Args:
        path: the file.
        kernel, device: names to use where the file has none (T4 need not, Triton's has no device); otherwise
            the file's stem and `unknown device`.

    Raises:
        InterchangeError: the file is missing, truncated, too large, of another version or kind, or its
            content contradicts itself; one line that names the place.
    """
    text = read_text(path)
    stem = path.name.removesuffix(".gz").removesuffix(".json").removesuffix(".t4").removesuffix(".autotune")
    if triton_cache.may_be_cache(text):
        content = parse_json(text, shown(path), infinite=True)
        if triton_cache.is_cache(content):
            return triton_cache.parse(content, shown(path), kernel or stem, device or "unknown device")
    note = ""
    try:
        content = parse_json(text, shown(path))
    except NotJson as error:
        whole = whole_entries(text) if error.unfinished else None
        if whole is None:
            raise
        content = parse_json(whole[0], shown(path))
        note = f"the cache is not finished: the {len(content['cache'])} whole configurations were read"
        note += f", {len(whole[1]):,} characters behind them left out" if whole[1] else ""
    if isinstance(content, dict) and "cache" in content:
        recorded = kernel_tuner.parse(content, shown(path))
        return replace(recorded, notes=(note,)) if note else recorded
    if isinstance(content, dict) and "results" in content:
        return fair_t4.parse(content, shown(path), kernel or stem, device or "unknown device")
    if ktt.is_results(content):
        return ktt.parse(content, shown(path), device or "unknown device")
    raise InterchangeError(
        f"{shown(path)} is neither a Kernel Tuner cache (no 'cache') nor a FAIR T4 file (no 'results') "
        "nor a result file of KTT (no 'Results' with 'Metadata') nor Triton's (no 'configs_timings')"
    )


def read_spaces(path: Path, kernel: str | None = None, device: str | None = None) -> list[RecordedSpace]:
    """As `read_recorded`; of a file of best configurations (ours, or Kernel Tuner's results) a space each.

    Raises:
        InterchangeError: as `read_recorded`.
    """
    text = read_text(path)
    # Only such a file is parsed here: another one may be large, and unfinished.
    if not any(f'"{name}"' in text[:_HEAD] for name in ("format", "version_number")):
        return [read_recorded(path, kernel, device)]
    content = parse_json(text, shown(path))
    if not best_files.is_best(content):
        return [read_recorded(path, kernel, device)]
    return best_files.parse(content, shown(path))


def write_recorded(recorded: RecordedSpace, path: Path, format: str = "t4") -> None:
    """Writes `t4` or `kernel-tuner`; gzipped if the name ends in `.gz`. What it writes reads back the same.

    Raises:
        UnknownName: there is no such format.
        TunerError: the file cannot be written, or a database is at its place.
    """
    if format not in FORMATS:
        raise UnknownName("format", format, list(FORMATS))
    data = FORMATS[format](recorded).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # equal content, equal bytes
    put(path, data)
