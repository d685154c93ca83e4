"""What was measured with and on, for a reader who doubts: device, protocol, peaks, the command."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.core.protocol import Protocol
from tuner.report.html.shell import moment
from tuner.report.html.subject import Subject
from tuner.report.text import config_text, safe
from tuner.report.units import byte_size, in_unit, quantity
from tuner.store.campaign_records import StoredCampaign

Heading = tuple[str, Sequence[tuple[str, str]]]

_MOST = 300  # characters of one fact


def facts(about: Subject) -> list[Heading]:
    """Headings with names and values."""
    if about.campaigns:
        return _alike([(campaign, pair) for campaign in about.campaigns for pair in _of(campaign)])
    if about.sweep is not None:
        sweep, device = about.sweep, about.sweep.spec.device
        protocol, limits = sweep.spec.protocol, dict(device.limits)
        found: list[Heading] = [
            ("Sweep", _pairs({
                "number": f"s{sweep.id}", "state": sweep.status, "began": moment(sweep.started_at),
                "ended": moment(sweep.finished_at), "searcher": sweep.spec.searcher, "seed": sweep.spec.seed,
                "budget": sweep.spec.budget, "note": sweep.spec.note,
            })),
            ("Device", _pairs({"name": device.name, "target": sweep.spec.target,
                               "fingerprint": device.fingerprint, **device.facts})),
        ]  # fmt: skip
        return _whole([*found, *_measuring(limits, protocol)])
    return []


def _of(campaign: StoredCampaign) -> list[Heading]:
    spec, limits = campaign.spec, dict(campaign.spec.device.limits)
    for part in campaign.parts:
        limits |= part.limits
    found: list[Heading] = [
        ("Campaign", _pairs({
            "number": f"c{campaign.id}", "state": campaign.state,
            "began": moment(campaign.started_at), "ended": moment(campaign.finished_at),
            "command": spec.command, **spec.asked, **spec.facts,
        })),
        ("Device", _pairs({"name": spec.device.name, "target": spec.target,
                           "fingerprint": spec.device.fingerprint, **spec.device.facts})),
    ]  # fmt: skip
    if campaign.measured:
        found += _measuring(limits, spec.protocol)
    return _whole(found)


def _alike(found: Sequence[tuple[StoredCampaign, Heading]]) -> list[Heading]:
    """Of several campaigns with their numbers, once what several say alike."""
    if len({campaign.id for campaign, _ in found}) == 1:
        return [heading for _, heading in found]
    numbers: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for campaign, (heading, pairs) in found:
        numbers.setdefault((heading, tuple(pairs)), []).append(f"c{campaign.id}")
    return [(f"{heading} · {', '.join(of)}", pairs) for (heading, pairs), of in numbers.items()]


def _measuring(limits: Mapping[str, float], protocol: Protocol) -> list[Heading]:
    return [
        ("Peaks measured on it", peaks(limits)),
        ("Protocol: how a time is taken", _pairs(protocol.as_dict())),
    ]


def _whole(found: Sequence[Heading]) -> list[Heading]:
    return [(heading, pairs) for heading, pairs in found if pairs]


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (_words(name), _text(name, value))
        for name, value in values.items()
        if value not in (None, "", [], {}, ())
    ]


def _words(name: str) -> str:
    return safe(name.removesuffix("_bytes").replace("_", " "))


def _text(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int | float):
        return byte_size(value)
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {_inner(each)}" for key, each in value.items())
    elif isinstance(value, list | tuple):
        value = ", ".join(map(_inner, value))
    text = safe(str(value))
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"


def _inner(value: Any) -> str:
    """What is within a list or a table: a configuration, or several of them, as everywhere else."""
    if isinstance(value, list | tuple):
        return "; ".join(map(_inner, value))
    return config_text(value) if isinstance(value, Mapping) else str(value)


def peaks(limits: Mapping[str, float]) -> list[tuple[str, str]]:
    """A device's measured limits in words, with their units."""
    return [(_words(name), _limit(name, value)) for name, value in limits.items()]


def _limit(name: str, value: float) -> str:
    if "flops" in name:
        return quantity(value, "FLOP/s")
    if "bytes_per_s" in name:
        return quantity(value, "B/s")
    # Calibrations: `calibration_s`, `calibration_s_threads2`.
    return in_unit(value, "s" if "_s" in name else "")
