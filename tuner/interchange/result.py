"""Reads `result.json`, what `tuner compare` wrote, as plain values; nothing of it is looked up or run
here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.core.errors import InterchangeError
from tuner.core.result_form import FORMAT, VERSION
from tuner.core.space import Config, Value
from tuner.core.trace_space import LONGEST, PARAMETER
from tuner.core.turns import Turns
from tuner.interchange._fields import Fields, clip, duration, plain_name, plain_value
from tuner.interchange._reading import parse_json, read_text

_MOST_THREADS, _MOST_ROUNDS, _MOST_SAMPLES = 2**20, 1000, 100_000
_MOST_MHZ = 100_000
# A clock ticks a thousand times slower, and nobody waits for a kernel so long: what is beyond is made up.
_SHORTEST_S, _LONGEST_S = 1e-12, 1e8


@dataclass(frozen=True)
class ResultEntry:
    """An entry of a final, as a file tells of it.

    Attributes:
        kernel, source, config: which; `source` is the digest of the kernel's files.
        toolchain, toolchain_text: digest of what built it, and its name for people.
        trial: its number in the file; entries refer to each other by it.
        baseline: a library people use.
        turns: its samples, seconds.
        default: the kernel's configuration had nobody tuned it.
    """

    kernel: str
    source: str
    config: Config
    toolchain: str
    toolchain_text: str
    trial: int
    baseline: bool
    turns: Turns
    default: bool = False


@dataclass(frozen=True)
class ResultPart:
    """One workload: the entries of its final, and what was said of it.

    Attributes:
        workload: its key.
        reference: the trial that speed-ups are over; `None` where nothing was declared.
        disturbed: what other programs took during the final; empty where that was little.
        calibration_s: seconds of the calibration kernel beside the final; `None` where nobody noted it.
        entries: none where no final was held.
    """

    workload: str
    reference: int | None
    disturbed: str
    calibration_s: float | None
    entries: tuple[ResultEntry, ...]


@dataclass(frozen=True)
class ResultCampaign:
    """What was measured on one device with one protocol.

    Attributes:
        device_kind, device, fingerprint: on what; the name is for people.
        target: compiled for.
        protocol: what moves a measured value: `threads`, `cache`, `warmup`, `min_sample_s`,
            and where they are asked for `sustained_s` and `clock_mhz`.
        rounds: of each final.
    """

    device_kind: str
    device: str
    fingerprint: str
    target: str
    protocol: Mapping[str, Any]
    rounds: int
    parts: tuple[ResultPart, ...]


@dataclass(frozen=True)
class ResultFile:
    """A file of `tuner compare`, checked to be plain values."""

    title: str
    campaigns: tuple[ResultCampaign, ...]


def read_result(file: Path) -> ResultFile:
    """The content of a `result.json`.

    Raises:
        InterchangeError: it cannot be read, is none, is of another version, or holds no number.
    """
    top = Fields(parse_json(read_text(file), str(file)), str(file))
    if top.content.get("format") != FORMAT:
        raise InterchangeError(
            f'{file} is no result of tuner compare: that one says "format": "{FORMAT}"; '
            "what tuner export wrote is for tuner verify-export"
        )
    version = top.get("version", int)
    if version != VERSION:
        raise InterchangeError(
            f"{file} is of version {clip(version)}, this lab reads {VERSION}: compare anew"
        )
    campaigns = tuple(
        _campaign(Fields(each, f"{file}: campaign {n}"))
        for n, each in enumerate(top.get("campaigns", list), 1)
    )
    if not any(part.entries for campaign in campaigns for part in campaign.parts):
        raise InterchangeError(f"{file} holds no number to verify: no final was held in it")
    return ResultFile(top.text("title", str(file.stem)), campaigns)


def _campaign(fields: Fields) -> ResultCampaign:
    where = fields.where
    device = Fields(fields.get("device", dict), f"{where}: device")
    protocol = Fields(fields.get("protocol", dict), f"{where}: protocol")
    asked = Fields(fields.get("asked", dict), f"{where}: asked")
    cache, between = protocol.caches()
    told: dict[str, Any] = {
        "threads": _whole(protocol, "threads", 1, _MOST_THREADS),
        "cache": cache,
        "warmup": _whole(protocol, "warmup", 0, 100, 1),
        "min_sample_s": min(1.0, duration(protocol.get("min_sample_s", (int, float), 1e-4), 1.0, where)),
    }
    if "sustained_s" in protocol.content:
        told["sustained_s"] = duration(protocol.content["sustained_s"], 1.0, where, zero=True)
    if "clock_mhz" in protocol.content:
        told["clock_mhz"] = _whole(protocol, "clock_mhz", 0, _MOST_MHZ)
    if between:
        told["between_bytes"] = between
    if protocol.text("timer", ""):
        raise InterchangeError(f"{where}: its times are of another stopwatch, {clip(protocol.text('timer'))}")
    return ResultCampaign(
        device.text("kind"), device.text("name"), device.text("fingerprint"), fields.text("target"), told,
        _whole(asked, "rounds", 0, _MOST_ROUNDS, 25),
        tuple(
            _part(Fields(each, f"{where}, workload {n}"))
            for n, each in enumerate(fields.get("workloads", list), 1)
        ),
    )  # fmt: skip


def _whole(fields: Fields, name: str, least: int, most: int, default: int | None = None) -> int:
    value = fields.content.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InterchangeError(
            f"{fields.where}: {name} is a number from {least} to {most}, not {clip(value)}"
        )
    return value


def _part(fields: Fields) -> ResultPart:
    limits = Fields(fields.get("limits", dict, {}), f"{fields.where}: limits")
    calibration = limits.content.get("calibration_s")
    if calibration is not None:
        calibration = duration(calibration, 1.0, f"{fields.where}: calibration_s")
        _require_time(calibration, f"{fields.where}: calibration_s")
    if fields.content.get("final") is None:
        return ResultPart(fields.text("workload"), None, "", calibration, ())
    final = Fields(fields.content["final"], f"{fields.where}: final")
    entries = tuple(
        _entry(Fields(each, f"{final.where}, entry {n}"))
        for n, each in enumerate(final.get("entries", list), 1)
    )
    trials = [entry.trial for entry in entries]
    reference = final.content.get("reference")
    if len(set(trials)) != len(trials) or reference not in (None, *trials):
        raise InterchangeError(
            f"{final.where}: entries are distinct trials, and the reference is one of them"
        )
    told = [name for name in ("disturbed", "busy") if final.content.get(name) is not None]
    disturbed = final.text(told[0]) if told else ""
    return ResultPart(fields.text("workload"), reference, disturbed, calibration, entries)


def _entry(fields: Fields) -> ResultEntry:
    config = {
        plain_name(name, fields.where): _chosen(name, value, fields.where)
        for name, value in fields.get("config", dict).items()
    }
    chain = Fields(fields.get("toolchain", dict), f"{fields.where}: toolchain")
    return ResultEntry(
        fields.text("kernel"), fields.text("source"), config, chain.text("digest"),
        f"{chain.text('name', '')} {chain.text('version', '')}".strip(),
        _whole(fields, "trial", 0, 2**62), bool(fields.get("baseline", bool, False)), _turns(fields),
        bool(fields.get("default", bool, False)),
    )  # fmt: skip


def _chosen(name: str, value: Any, where: str) -> Value:
    """A parameter's value; the one text that is long is a trace, which its space checks before it is used."""
    if name == PARAMETER and isinstance(value, str) and len(value) <= LONGEST and value.isprintable():
        return value
    return plain_value(value, where)


def _turns(fields: Fields) -> Turns:
    samples, processes = fields.get("samples_s", list), fields.get("processes", list, [])
    where = f"{fields.where}: samples_s"
    if not 1 <= len(samples) <= _MOST_SAMPLES:
        raise InterchangeError(f"{where} holds {len(samples)} numbers, not 1 to {_MOST_SAMPLES}")
    seconds = tuple(duration(value, 1.0, where) for value in samples)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in processes)
    try:
        turns = Turns(seconds, tuple(processes) if whole else (0,))
    except ValueError:
        raise InterchangeError(
            f"{fields.where}: processes are the counts of {len(seconds)} samples"
        ) from None
    _require_time(min(seconds), where)
    _require_time(max(seconds), where)
    return turns


def _require_time(seconds: float, where: str) -> None:
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise InterchangeError(f"{where}: {seconds:g} s is no time of a kernel")
