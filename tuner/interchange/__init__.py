"""Reads and writes the formats of other autotuners; imports only `tuner.core`."""

import gzip
from collections.abc import Callable
from pathlib import Path

from tuner.core.errors import InterchangeError, UnknownName
from tuner.core.recorded import RecordedSpace
from tuner.interchange import fair_t4, kernel_tuner
from tuner.interchange._reading import read_json, shown

FORMATS: dict[str, Callable[[RecordedSpace], str]] = {
    "t4": fair_t4.dumps,
    "kernel-tuner": kernel_tuner.dumps,
}


def read_recorded(path: Path, kernel: str | None = None, device: str | None = None) -> RecordedSpace:
    """A recorded space from a Kernel Tuner cache or a FAIR T4 file, plain or gzipped, told by its content.

    Args:
        path: the file.
        kernel, device: names to use where the file has none (T4 need not); otherwise the file's stem and
            `unknown device`.

    Raises:
        InterchangeError: the file is missing, truncated, too large, of another version or kind, or its
            content contradicts itself; one line that names the place.
    """
    content = read_json(path)
    stem = path.name.removesuffix(".gz").removesuffix(".json").removesuffix(".t4")
    if isinstance(content, dict) and "cache" in content:
        return kernel_tuner.parse(content, shown(path))
    if isinstance(content, dict) and "results" in content:
        return fair_t4.parse(content, shown(path), kernel or stem, device or "unknown device")
    raise InterchangeError(
        f"{shown(path)} is neither a Kernel Tuner cache (no 'cache') nor a FAIR T4 file (no 'results')"
    )


def write_recorded(recorded: RecordedSpace, path: Path, format: str = "t4") -> None:
    """Writes `t4` or `kernel-tuner`; gzipped if the name ends in `.gz`. What it writes reads back the same.

    Raises:
        UnknownName: there is no such format.
        InterchangeError: the file cannot be written.
    """
    if format not in FORMATS:
        raise UnknownName("format", format, list(FORMATS))
    data = FORMATS[format](recorded).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # equal content, equal bytes
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InterchangeError(f"{shown(path)} cannot be written: {error.strerror}") from None
