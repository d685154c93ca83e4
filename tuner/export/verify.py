"""Whether what was exported still holds: each entry timed again beside its kernel's default.

Tuned and default take turns (`run_final`), so that a machine that is slower today is slower for both.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tuner import registry
from tuner.core.default_config import default_config
from tuner.core.device import Device
from tuner.core.errors import MachineFault, TunerError, Unavailable
from tuner.core.kernel import Kernel
from tuner.core.measurement import Evidence
from tuner.core.space import Config
from tuner.core.stats import Interval
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import find_device
from tuner.engine.candidate.domain import companions_of, space_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.campaign import check_memory, default_protocol, fresh_seed
from tuner.engine.tuning.finals import Finalist, Ranking, run_final
from tuner.engine.tuning.observer import Observer
from tuner.interchange.exported import Entry

_ROUNDS, _BUDGET_S = 9, 8.0


class Holding(StrEnum):
    """What became of an entry."""

    HOLDS = "holds"
    FASTER = "faster than said"
    SLOWER = "slower than said"
    NO_BETTER = "no better than the default"
    INVALID = "invalid here"
    UNDECIDED = "undecided"  # other programs had the cores, or the intervals are too wide


GOOD = frozenset({Holding.HOLDS, Holding.FASTER})


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        time_s, default_s: medians of the turns here; `None` where nothing was timed.
        why: for people: why invalid or undecided.
        stale: what is no longer what the entry was measured with, a text each.
    """

    entry: Entry
    mark: Holding
    time_s: float | None = None
    default_s: float | None = None
    why: str = ""
    stale: tuple[str, ...] = ()


def verify(
    entries: Sequence[Entry], within: float, observer: Observer | None = None,
    defaults: Mapping[str, Config] | None = None,
) -> list[Verdict]:  # fmt: skip
    """Times each entry here beside its kernel's default.

    Args:
        entries: of a file.
        within: a share: so much slower than said still holds, so much faster is said.
        observer: is told how it goes.
        defaults: by kernel, what is its default in place of the first of its lists.

    Raises:
        MachineFault: the machine failed.
    """
    observer, found = observer or Observer(), []
    for number, entry in enumerate(entries, 1):
        observer.note(f"{number} of {len(entries)}: {entry.kernel} at {entry.workload}")
        try:
            found.append(_verify(entry, within, observer, (defaults or {}).get(entry.kernel)))
        except MachineFault:
            raise
        except TunerError as error:
            found.append(Verdict(entry, Holding.INVALID, why=str(error).splitlines()[0]))
    return found


def _verify(entry: Entry, within: float, observer: Observer, default: Config | None) -> Verdict:
    if entry.evidence == Evidence.REPLAYED:
        raise Unavailable("its time is a recording of elsewhere, and its kernel is not here")
    given = Workload.from_key(entry.workload)
    operator = registry.operator(given.operator)
    workload = operator.workload(given.dtype, **dict(given.dims), **dict(given.options))
    kernel = registry.kernel(entry.kernel)
    device = find_device(entry.device_kind or None, None)
    stale = _stale(entry, kernel, device)
    try:
        return _compared(entry, workload, kernel, device, within, observer, stale, default)
    except MachineFault:
        raise
    except TunerError as error:
        return Verdict(entry, Holding.INVALID, why=str(error).splitlines()[0], stale=stale)


def _compared(
    entry: Entry, workload: Workload, kernel: Kernel, device: Device, within: float, observer: Observer,
    stale: tuple[str, ...], default: Config | None,
) -> Verdict:  # fmt: skip
    protocol = default_protocol(
        device, threads=entry.threads, cache=entry.cache, between_bytes=entry.between_bytes
    )
    check_memory(workload, device)
    with Workshop(device, protocol, fresh_seed()) as workshop:
        space = space_of(kernel, workload, workshop)
        if default is not None and (reason := space.why_invalid(default)) is not None:
            # One file has many shapes: a default that fits the others is no error.
            stale = (*stale, f"its default is the first of its lists: what was named does not fit: {reason}")
            default = None
        config, plain = space.check(entry.config), dict(default_config(space, default))
        workshop.warm([kernel])
        workshop.prepare(registry.operator(workload.operator), workload)
        ranking, why = _timed(workshop, workload, kernel, [config, plain], observer)
    if ranking is None:
        return Verdict(entry, Holding.INVALID, why=why, stale=stale)
    elsewhere = entry.fingerprint != device.fingerprint or entry.evidence != Evidence.MEASURED
    return verdict_of(entry, ranking, dict(config) == plain, elsewhere, within, stale)


def verdict_of(
    entry: Entry, ranking: Ranking, is_default: bool, elsewhere: bool, within: float,
    stale: tuple[str, ...] = (),
) -> Verdict:  # fmt: skip
    """What a final of the entry and its default says.

    Args:
        entry: what was exported.
        ranking: its entries are the tuned configuration and the default, in this order.
        is_default: whether both are the same.
        elsewhere: whether what was said is no time of this machine: then it is not compared with.
        within: see `verify`.
        stale: goes into the verdict.
    """
    tuned, default = (placing.interval for placing in ranking.entries)
    times = tuned.mid if tuned else None, default.mid if default else None
    if ranking.entries[0].error:
        return Verdict(
            entry, Holding.INVALID, None, times[1], ranking.entries[0].error.splitlines()[0], stale
        )
    if ranking.disturbed or times[0] is None:
        return Verdict(entry, Holding.UNDECIDED, *times, ranking.disturbed, stale)
    # Where the default fails, anything right is better than it.
    if times[1] is not None and (ranking.winner != 0 or ranking.tied):
        return Verdict(entry, Holding.NO_BETTER, *times, "it is the default" if is_default else "", stale)
    if elsewhere:
        why = "better than the default; what was said is of elsewhere"
        return Verdict(entry, Holding.HOLDS, *times, why, stale)
    assert tuned is not None
    mark = mark_of(tuned, entry.said, within)
    why = ""
    if mark is Holding.UNDECIDED:
        wide = [f"±{100 * each.relative_half_width:.0f}%" for each in (entry.said, tuned)]
        why = (
            f"{tuned.mid / entry.said.mid:.2f} times what was said, by the medians, and the intervals "
            f"overlap: {wide[0]} in the file, {wide[1]} here"
        )
    return Verdict(entry, mark, *times, why, stale)


def mark_of(now: Interval, said: Interval, within: float) -> Holding:
    """What a time here says of a time that was said, for an entry that is better than its default.

    It has moved where the intervals, one of them widened by the share `within`, do not meet; it holds where
    the medians are within that share. Between the two nothing is said.
    """
    if now.low > said.high * (1 + within):
        return Holding.SLOWER
    if now.high * (1 + within) < said.low:
        return Holding.FASTER
    return Holding.HOLDS if 1 / (1 + within) <= now.mid / said.mid <= 1 + within else Holding.UNDECIDED


def _timed(
    workshop: Workshop, workload: Workload, kernel: Kernel, configs: Sequence[Config], observer: Observer
) -> tuple[Ranking | None, str]:
    with contextlib.ExitStack() as builds:
        finalists: list[Finalist] = []
        companions = () if kernel.searcher else companions_of(kernel, workload, workshop.target)
        for label, config in zip(("tuned", "default"), configs, strict=True):
            built = workshop.build(kernel, workload, config, companions)
            builds.callback(built.discard)
            if built.artifact is None and label == "tuned":
                return None, built.error.splitlines()[0]
            if built.artifact is not None:
                finalists.append(Finalist(label, len(finalists), built, baseline=label == "default"))
        if len(finalists) < 2:  # the default does not build here: the tuned one is timed beside itself
            finalists.append(Finalist("default", 1, finalists[0].built, baseline=True))
        return run_final(
            workshop, workload, finalists, _ROUNDS, _BUDGET_S, report=observer.final_progress
        ), ""


def _stale(entry: Entry, kernel: Kernel, device: Device) -> tuple[str, ...]:
    """What is no longer what the entry was measured with."""
    found: list[str] = []
    if entry.kernel_digest != kernel.digest:
        found.append(f"the source of kernel {kernel.name} has changed")
    builder = registry.builder_of(kernel, device.target)
    if builder.unavailable() is None:
        now = builder.toolchain(device.target)
        if entry.toolchain != now.digest:
            found.append(now.instead_of(entry.toolchain_text))
    if entry.fingerprint != device.fingerprint:
        found.append(f"measured on {entry.device or 'another device'}")
    return tuple(found)


def described(verdict: Verdict) -> dict[str, Any]:
    """Plain values, for JSON."""
    entry = verdict.entry
    return {
        "workload": entry.workload, "kernel": entry.kernel, "config": dict(entry.config),
        "mark": str(verdict.mark), "said_s": entry.said.mid, "time_s": verdict.time_s,
        "default_s": verdict.default_s, "why": verdict.why, "stale": list(verdict.stale),
    }  # fmt: skip
