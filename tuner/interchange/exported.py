"""Reads what `tuner export` wrote with its provenance: plain values, of which nothing is looked up here."""

from dataclasses import dataclass
from pathlib import Path

from tuner.core.errors import TunerError
from tuner.core.space import Config
from tuner.core.stats import Interval
from tuner.interchange._fields import Fields, clip, plain_name, plain_value
from tuner.interchange._reading import parse_json, read_text, shown

_BEST = "kernel-tuner-lab/best"
# By format the version that is read: a later one may mean other things by the same names.
_FORMATS = {_BEST: 1, "kernel-tuner-lab/library": "1.0", "kernel-tuner-lab/cubins": 1}
_MOST_THREADS = 2**20


@dataclass(frozen=True)
class Entry:
    """An entry of a file, checked to be plain values; nothing of it has been looked up.

    Attributes:
        said: the time it was measured with, seconds; without an interval in the file a single number.
    """

    workload: str
    kernel: str
    config: Config
    device: str
    fingerprint: str
    device_kind: str
    evidence: str
    threads: int
    cache: str
    said: Interval
    kernel_digest: str
    toolchain: str
    toolchain_text: str
    between_bytes: int = 0


def read_entries(file: Path) -> list[Entry]:
    """The entries of a file of `tuner export`: `--best --format json`, a library's origin, a manifest.

    Raises:
        InterchangeError: it cannot be read or is none of these.
        TunerError: it has no entries.
    """
    if file.is_dir():
        # A library's folder.
        found = sorted(file.glob("share/*/*.json"))
        if len(found) != 1:
            raise TunerError(
                f"{shown(file)} is the folder of no library: there is no share/NAME/NAME.json in it"
            )
        file = found[0]
    where = shown(file)
    top = Fields(parse_json(read_text(file), where), where)
    kind = top.text("format", "none")
    if kind not in _FORMATS:
        raise TunerError(
            f"{where} is no file that can be verified: write one with tuner export --best --format json, "
            "or give a library's folder; a result.json of tuner compare is for tuner verify"
        )
    version = top.get("version", (int, str), _FORMATS[kind])
    if version != _FORMATS[kind]:
        raise TunerError(
            f"{where} is of version {clip(version)}, this lab reads {_FORMATS[kind]}: export it anew"
        )
    if kind == _BEST:
        devices = top.get("devices", dict).items()
        shapes = [
            (key, entry) for name, device in devices
            for key, entry in Fields(device, f"{where}: {name}").get("shapes", dict).items()
        ]  # fmt: skip
    else:
        shapes = [(str(n), entry) for n, entry in enumerate(top.get("entries", list))]
    if not shapes:
        raise TunerError(f"{where} has no entries")
    return [_entry(Fields(entry, f"{where}: {key}")) for key, entry in shapes]


def _entry(fields: Fields) -> Entry:
    config = {
        plain_name(name, fields.where): plain_value(value, fields.where)
        for name, value in fields.get("config", dict).items()
    }
    said, threads = _said(fields), fields.get("threads", int, 1)
    if isinstance(threads, bool) or not 1 <= threads <= _MOST_THREADS:
        raise TunerError(f"{fields.where}: {clip(threads)} is no number of threads")
    cache, between = fields.caches()
    version = f"{fields.text('toolchain_name', '')} {fields.text('toolchain_version', '')}".strip()
    return Entry(
        fields.text("workload"), fields.text("kernel"), config, fields.text("device", ""),
        fields.text("fingerprint", ""), fields.text("device_kind", ""), fields.text("evidence", ""),
        threads, cache, said,
        fields.text("kernel_digest", ""), fields.text("toolchain", ""), version, between,
    )  # fmt: skip


def _said(fields: Fields) -> Interval:
    interval = fields.get("interval_s", list, [])
    numbers = interval if len(interval) == 3 else [fields.get("time_s", (int, float))] * 3
    for said in numbers:
        if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < 1e9:
            raise TunerError(f"{fields.where}: its time is no number of seconds")
    low, mid, high = map(float, numbers)
    if not low <= mid <= high:
        raise TunerError(f"{fields.where}: its interval is not low, median and high")
    return Interval(low, mid, high)
