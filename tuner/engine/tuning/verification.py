"""Measures again what a `result.json` tells, and says of each number whether it reproduces here.

The file names kernels, configurations and a protocol; sources are those of this installation, and a
kernel whose source has another digest is not run. The entries of each final are timed as finals are
(`run_final`): interleaved, in nine processes each. Two finals of different hours share no rounds, so they
are compared by `core/reproduction.py`.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tuner import registry
from tuner.core.errors import MachineFault, TunerError, Unavailable
from tuner.core.reproduction import WITHIN, Mark, Reproduction, judge, of_pairs, of_processes
from tuner.core.space import Config
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.engine.candidate.devices import find_device
from tuner.engine.candidate.domain import companions_of, space_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.campaign import check_memory, default_protocol, fresh_seed
from tuner.engine.tuning.finals import Finalist, run_final
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.others import watching
from tuner.interchange.result import ResultCampaign, ResultEntry, ResultFile, ResultPart

SPEED = 1.1
"""A calibration kernel that takes so many times what it took then, or the other way round, is another
machine."""


@dataclass(frozen=True)
class Number:
    """A number of a file, and what became of it.

    Attributes:
        workload, threads, kernel, config, trial: of which entry.
        over: the kernel that the entry is faster than, of a speed-up; empty for a time.
        then, now: median and 95% interval, seconds or a ratio; `now` is `None` where it was not measured.
        finding: the verdict.
        default: whether it is of the configuration that the kernel has where nobody tuned it.
    """

    workload: str
    threads: int
    kernel: str
    config: Config
    trial: int
    over: str
    then: Interval
    now: Interval | None
    finding: Reproduction
    default: bool = False


@dataclass(frozen=True)
class Verified:
    """All numbers of a file.

    Attributes:
        within: the share that was allowed for.
        remarks: what differs from then beside the numbers, a line each.
    """

    numbers: tuple[Number, ...]
    within: float
    remarks: tuple[str, ...] = ()

    def count(self, mark: Mark) -> int:
        """How many numbers have this verdict."""
        return sum(number.finding.mark is mark for number in self.numbers)

    @property
    def reproduces(self) -> bool:
        """Whether all that could be run reproduces, and anything could be run."""
        return self.count(Mark.REPRODUCES) > 0 and not (
            self.count(Mark.DIFFERS) or self.count(Mark.UNDECIDED)
        )


@dataclass
class _Measured:
    """What this machine has to say of one workload.

    Attributes:
        turns: by trial.
        missing: why an entry has none, by trial.
        dropped: trials of `missing` that took part in the final and were thrown out of it.
        disturbed: why nothing may be said; empty where something may.
        slower: how many times what it took then the calibration kernel takes; `None` where that is not known.
    """

    turns: dict[int, Turns] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    disturbed: str = ""
    slower: float | None = None

    def absent(self, trial: int) -> tuple[Mark, str]:
        """What is said of an entry without a time: a disturbed final throws out right kernels too."""
        why = self.missing.get(trial, "")
        if self.disturbed and trial in self.dropped:
            return Mark.UNDECIDED, f"{self.disturbed}; {why}"
        return Mark.NOT_HERE, why


def verify_result(
    result: ResultFile, within: float = WITHIN, observer: Observer | None = None, device: str | None = None
) -> Verified:
    """Measures what a file tells, on this machine.

    Args:
        result: the file.
        within: a share by which two hours may differ.
        observer: is told how it goes.
        device: what to measure on, in place of a device of the file's kind.

    Returns:
        A verdict on every number: on the times of entries where the device is the same, and on their
        speed-ups over the reference of their final on any.

    Raises:
        MachineFault: the machine failed.
    """
    observer = observer or Observer()
    remarks: dict[str, None] = {}
    parts = [
        (campaign, part, *_measured(campaign, part, device, observer, remarks))
        for campaign in result.campaigns
        for part in campaign.parts
        if part.entries
    ]
    raw = [number for part in parts for number in _numbers(*part)]
    compared = sum(judged is not None for _, judged in raw)
    numbers = []
    for number, samples in raw:
        if samples is not None:
            found = judge(*samples, compared, within)
            number = replace(number, finding=found)
        numbers.append(number)
    return Verified(tuple(numbers), within, tuple(remarks))


_Samples = tuple[list[float], list[float]]


def _numbers(
    campaign: ResultCampaign, part: ResultPart, measured: _Measured, same: bool
) -> Iterator[tuple[Number, _Samples | None]]:
    """The numbers of a workload, with the samples to judge them by where there are any."""
    entries = {entry.trial: entry for entry in part.entries}
    reference = entries.get(part.reference) if part.reference is not None else None

    def made(
        entry: ResultEntry, over: str, then: Interval | None, now: Interval | None, why: str, mark: Mark
    ) -> Number:
        assert then is not None, "an entry of a file has samples"
        return Number(
            part.workload, int(campaign.protocol["threads"]), entry.kernel, entry.config, entry.trial, over,
            then, now, Reproduction(mark, None, why), entry.default,
        )  # fmt: skip

    doubt = f"disturbed then: {part.disturbed}" if part.disturbed else measured.disturbed
    for entry in part.entries:
        turns = measured.turns.get(entry.trial)
        if same:
            then, now = entry.turns.interval, turns.interval if turns else None
            if turns is None:
                mark, why = measured.absent(entry.trial)
                yield made(entry, "", then, None, why, mark), None
            elif doubt or measured.slower is None:
                unknown = "nobody noted how fast the machine was then"
                yield made(entry, "", then, now, doubt or unknown, Mark.UNDECIDED), None
            else:
                found = [time / measured.slower for time in of_processes(turns)]
                yield made(entry, "", then, now, "", Mark.UNDECIDED), (of_processes(entry.turns), found)
        if reference is None or entry is reference:
            continue
        base = measured.turns.get(reference.trial)
        then = reference.turns.over(entry.turns)
        if turns is None or base is None:
            mark, why = measured.absent(entry.trial if turns is None else reference.trial)
            if turns is not None:
                why = f"{reference.kernel}, which it is over: {why}"
            yield made(entry, reference.kernel, then, None, why, mark), None
            continue
        now = base.over(turns)
        if doubt:
            yield made(entry, reference.kernel, then, now, doubt, Mark.UNDECIDED), None
        else:
            samples = of_pairs(reference.turns, entry.turns), of_pairs(base, turns)
            yield made(entry, reference.kernel, then, now, "", Mark.UNDECIDED), samples


def _measured(
    campaign: ResultCampaign, part: ResultPart, name: str | None, observer: Observer, remarks: dict[str, None]
) -> tuple[_Measured, bool]:
    """What one workload takes here, and whether here is the device of the file."""
    observer.note(f"{part.workload}, {campaign.protocol['threads']} threads")
    same = True
    try:
        device = find_device(name or campaign.device_kind, None)
        same = device.fingerprint == campaign.fingerprint
        given = Workload.from_key(part.workload)
        operator = registry.operator(given.operator)
        workload = operator.workload(given.dtype, **dict(given.dims), **dict(given.options))
        protocol = default_protocol(device, **campaign.protocol)
        check_memory(workload, device)
    except MachineFault:
        raise
    except TunerError as error:
        why = str(error).splitlines()[0]
        return _Measured(missing={entry.trial: why for entry in part.entries}), same
    if not same:
        here = device.facts().get("model", device.name)
        remarks.setdefault(
            f"measured on {campaign.device}, here is {here}: speed-ups are compared, not times"
        )
    try:
        with Workshop(device, protocol, fresh_seed()) as workshop:
            found = _timed(campaign, part, workload, workshop, observer, remarks)
    except MachineFault:
        raise
    except TunerError as error:  # a clock that cannot be held here: other parts of the file may do without
        return _Measured(missing={entry.trial: str(error).splitlines()[0] for entry in part.entries}), same
    if same and found.slower is not None and not 1 / SPEED <= found.slower <= SPEED and not found.disturbed:
        found.disturbed = (
            f"disturbed, now or then: the calibration kernel takes {found.slower:.2f} times what it took then"
        )
    return found, same


def _timed(
    campaign: ResultCampaign, part: ResultPart, workload: Workload, workshop: Workshop, observer: Observer,
    remarks: dict[str, None],
) -> _Measured:  # fmt: skip
    found = _Measured()
    with contextlib.ExitStack() as builds:
        finalists = []
        for entry in part.entries:
            try:
                finalists.append(_finalist(entry, workload, workshop, builds, remarks))
            except MachineFault:
                raise
            except TunerError as error:
                found.missing[entry.trial] = str(error).splitlines()[0]
        if not finalists:
            return found
        workshop.prepare(registry.operator(workload.operator), workload)
        observer.final_began([finalist.label for finalist in finalists])
        workshop.settle()
        others_took = watching(workshop.protocol.threads)
        ranking = run_final(
            workshop, workload, finalists, campaign.rounds or 25, report=observer.final_progress
        )
        taken = others_took()
    for placing in ranking.entries:
        if placing.turns.samples:
            found.turns[placing.finalist.trial_id] = placing.turns
        else:
            found.missing[placing.finalist.trial_id] = placing.error.splitlines()[0]
            found.dropped.add(placing.finalist.trial_id)
    found.disturbed = f"disturbed: {ranking.disturbed}" if ranking.disturbed else ""
    if workshop.device.shares_cpu and not found.disturbed:
        found.disturbed = f"disturbed: {taken}" if taken else ""
    _calibrate(part, workload, workshop, found)
    return found


def _calibrate(part: ResultPart, workload: Workload, workshop: Workshop, found: _Measured) -> None:
    """How fast the machine is, beside what it was: which times are divided by, and may be nobody's fault."""
    if part.calibration_s is None or found.disturbed:
        return
    seconds, quiet = workshop.calibrate(workshop.calibration_kind(workload))
    if quiet:
        found.slower = seconds / part.calibration_s
    else:
        found.disturbed = "disturbed: other programs had the cores while the machine was calibrated"


def _finalist(
    entry: ResultEntry, workload: Workload, workshop: Workshop, builds: contextlib.ExitStack,
    remarks: dict[str, None],
) -> Finalist:  # fmt: skip
    """An entry, built of this installation's source.

    Raises:
        TunerError: it cannot be, with the reason.
    """
    kernel = registry.kernel(entry.kernel)
    if kernel.digest != entry.source:
        raise Unavailable(
            f"the source of {kernel.name} here is {kernel.digest}, measured was {entry.source}: "
            "install the version of the lab that wrote the file"
        )
    config = space_of(kernel, workload, workshop).check(entry.config)
    chain = registry.builder_of(kernel, workshop.target).toolchain(workshop.target)
    if chain.digest != entry.toolchain:
        remarks.setdefault(f"{kernel.name}: {chain.instead_of(entry.toolchain_text)}")
    companions = () if kernel.searcher else companions_of(kernel, workload, workshop.target)
    built = workshop.build(kernel, workload, config, companions)
    builds.callback(built.discard)
    built.require_machine(f"{kernel.name} cannot be built")
    if built.artifact is None:
        raise Unavailable(f"{kernel.name} does not build here: {built.error.splitlines()[0]}")
    return Finalist(kernel.name, entry.trial, built, entry.baseline)
