"""What 40 trials find of what 400 find: ten shapes that no other figure of the lab was made with.

Run as `python -m tuner.lab.bench_depth`. It stops after half an hour, in the middle of a sweep too; another
run goes on from there. Results are kept in `results/bench-depth.json`, each sweep in a database of its own in
`results/bench-depth/`, because a sweep that saw another one's trials would begin at its best.
`docs/search-depth.md` gets a section of this CPU. The machine has to be idle: a final that other programs
disturbed is not kept.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.places import ROOT
from tuner.core.stats import Interval
from tuner.core.trial import Trial
from tuner.core.workload import Workload
from tuner.engine.candidate.domain import companions_of, space_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.choice import searcher_for
from tuner.engine.tuning.finals import Finalist, Ranking, run_final
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.peaks import calibration_reference
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.sweep import Sweep
from tuner.lab import depth_page
from tuner.lab.comparison_page import write_page
from tuner.lab.depth_cases import CASES, DepthCase
from tuner.lab.resumable import concluded, minutes, read_kept, write_kept
from tuner.lab.vendor_page import section_name
from tuner.store.store import open_store

if TYPE_CHECKING:
    from tuner.core.device import Device
    from tuner.store.store import Store

_MINUTES, _TRIALS = 30.0, (40, 400)
# As in a campaign: so many of a sweep's fastest meet, because the times of a sweep are not that exact.
_FINALISTS = 2
# Seconds are of one configuration.
_ROUNDS, _BUDGET_S, _TRIES = 18, 3.0, 2


class _NoKernel(TunerError):
    """No kernel named for a case can serve here: another run would find none either."""


@dataclass(frozen=True)
class Compared:
    """What a final says of two sweeps.

    Attributes:
        chosen: of each sweep the place of its fastest in the final.
        seconds: of one call of these.
        ratio: the first one's time over the second one's.
    """

    chosen: tuple[int, int]
    seconds: tuple[float, float]
    ratio: Interval


class DepthBench:
    """The comparisons of one run on one device.

    Args:
        device: whose cores.
        folder: keeps the sweeps, a database each.
        kept: what earlier runs of this device found, by the keys of the cases; added to.
        save: called after each comparison.
        trials: of the short sweeps and of the long ones.
    """

    def __init__(
        self, device: "Device", folder: Path, kept: dict[str, Any], save: Callable[[], None],
        trials: tuple[int, int] = _TRIALS,
    ) -> None:  # fmt: skip
        self._device, self._folder, self._kept, self._save = device, folder, kept, save
        few, many = self._trials = trials
        if not 0 < few < many:
            raise TunerError(f"--trials takes two numbers from 1, the smaller one first: not {few}, {many}")
        self._protocol = campaign.default_protocol(device)
        kept.setdefault("cases", {})
        facts = device.facts()
        kept.setdefault("about", {}).update(
            model=section_name(facts, device.fingerprint), arch=facts.get("arch"),
            hypervisor=facts.get("hypervisor"), cores=int(device.target.limits["cores"]),
        )  # fmt: skip

    def run(self, wanted: Sequence[DepthCase], until: float) -> int:
        """Measures what is missing, until a moment of the monotonic clock; how many are still missing."""
        missing = [case for case in wanted if not self.known(case)]
        if missing and time.monotonic() < until:
            with Workshop(self._device, self._protocol, campaign.fresh_seed()) as workshop:
                for case in missing:
                    if time.monotonic() < until:
                        self._one(case, workshop, until)
        return sum(not self.known(case) for case in wanted)

    def key(self, case: DepthCase) -> str:
        """The name of a case in the file of results."""
        (few, many), threads = self._trials, self._protocol.threads
        return f"{case.operator} {case.dtype} {case.shape}, {threads} threads, {few} and {many} trials"

    def known(self, case: DepthCase) -> bool:
        """Whether it is compared already, with the kernel's present source."""
        found = self._kept["cases"].get(self.key(case), {})
        kernel = registry.kernels().get(found.get("kernel", ""))
        same = kernel is not None and kernel.digest == found.get("digest")
        return bool(found.get("unserved") or (found.get("ratio") and same))

    def _one(self, case: DepthCase, workshop: Workshop, until: float) -> None:
        workload = registry.operator(case.operator).parse(case.shape, case.dtype)
        found: dict[str, Any] = {
            **asdict(case), "threads": self._protocol.threads, "trials": list(self._trials),
            "date": date.today().isoformat(),
        }  # fmt: skip
        try:
            compared = self._compare(case, workload, workshop, until)
        except TunerError as error:
            compared = {"error": str(error).splitlines()[0], "unserved": isinstance(error, _NoKernel)}
        finally:
            workshop.forget(registry.operator(case.operator), workload)
        if compared is None:
            return
        self._kept["cases"][self.key(case)] = found = found | compared
        self._kept["about"]["date"] = found["date"]
        self._save()
        print(_line(self.key(case), found), flush=True)

    def _compare(
        self, case: DepthCase, workload: Workload, workshop: Workshop, until: float
    ) -> dict[str, Any] | None:
        """What is found of a case; `None` where the time is over before both sweeps are done."""
        kernel = self._kernel(case, workload)
        campaign.check_memory(workload, self._device)
        workshop.warm([kernel])
        swept = []
        for seed, trials in enumerate(self._trials):
            request = SweepRequest(
                kernel, workload, searcher_for(kernel, "auto"), seed, Budget(trials=trials), resume=True
            )
            done = self._swept(request, workshop, until)
            if done is None:
                return None
            swept.append(done)
        sides = [leaders(trials, _FINALISTS) for trials in swept]
        if not all(sides):
            raise TunerError(f"{kernel.name}: a sweep found no configuration that is right")
        numbers, found = self._meet(kernel, workload, sides, workshop)
        few, many = (
            {"tried": len(trials), "at": at, "seconds": took_s, "config": dict(trials[at - 1].key.config)}
            for trials, at, took_s in zip(swept, numbers, found.seconds, strict=True)
        )
        return {
            "kernel": kernel.name, "digest": kernel.digest, "ratio": list(astuple(found.ratio)),
            "space": space_of(kernel, workload, workshop).size, "sides": [few, many],
            "own_first": own_first(swept[1], self._trials[0]),
        }  # fmt: skip

    def _kernel(self, case: DepthCase, workload: Workload) -> Kernel:
        kernels, skipped = campaign.choose_kernels(
            workload, self._device, self._protocol, case.kernels, baselines=False, strict=False
        )
        by_name = {kernel.name: kernel for kernel in kernels}
        for name in case.kernels:
            if name in by_name:
                return by_name[name]
        raise _NoKernel("; ".join(f"{name}: {why}" for name, why in skipped.items()))

    def _swept(self, request: SweepRequest, workshop: Workshop, until: float) -> Sequence[Trial] | None:
        """A sweep's trials in their order, those of its earlier runs too; `None` while it is not finished."""
        budget = request.budget.trials
        # Of another source of the kernel trials of this very shape would be history.
        kernel, threads = request.kernel, self._protocol.threads
        name = f"{request.workload.key}-{threads}-threads-{kernel.name}-{kernel.digest[:12]}-{budget}.db"
        with open_store(str(self._folder / name.replace("/", "-"))) as store:
            known = _finished(store, request, workshop)
            if known is not None:
                return known
            left_s = until - time.monotonic()
            if left_s <= 0:
                return None
            registry.searcher(request.searcher).warm_up()
            reference_s = calibration_reference(workshop, store, workload=request.workload)
            sweep = Sweep(request, workshop, store, Observer(), reference_s)
            result = sweep.run(pause_s=left_s)
            if result.interrupted:
                raise KeyboardInterrupt
            if sweep.closed:
                return result.trials
            sweep.close(interrupted=True)  # so that the next run goes on with it
            return None

    def _meet(
        self, kernel: Kernel, workload: Workload, sides: Sequence[Mapping[int, Trial]], workshop: Workshop
    ) -> tuple[tuple[int, ...], Compared]:
        """The final of two sweeps' fastest: of each the number of its best trial, and how they compare."""
        seats: dict[str, Trial] = {}
        for side in sides:
            for trial in side.values():
                seats.setdefault(_same(trial), trial)
        places = list(seats)
        seated = [[places.index(_same(trial)) for trial in side.values()] for side in sides]
        workshop.prepare(registry.operator(workload.operator), workload)
        for _ in range(_TRIES):
            ranking = _final(kernel, workload, list(seats.values()), workshop)
            if not ranking.disturbed:
                found = compared(ranking, seated)
                numbers = [
                    list(side)[mine.index(place)]
                    for side, mine, place in zip(sides, seated, found.chosen, strict=True)
                ]
                return tuple(numbers), found
        raise TunerError(f"disturbed: {ranking.disturbed}")


def _same(trial: Trial) -> str:
    """Equal for trials with one binary, which could only tie."""
    return trial.measurement.artifact or trial.key.digest


def leaders(trials: Sequence[Trial], count: int) -> dict[int, Trial]:
    """The fastest right trials with distinct binaries, the fastest first, by their number, from 1."""
    right = [(number, t) for number, t in enumerate(trials, 1) if t.measurement.ok]
    right.sort(key=lambda each: each[1].measurement.time_s or 0.0)
    found: dict[str, tuple[int, Trial]] = {}
    for number, trial in right:
        found.setdefault(_same(trial), (number, trial))
    return dict(list(found.values())[:count])


def own_first(trials: Sequence[Trial], count: int) -> float:
    """The best time of a sweep's first trials over the best of all; infinite where none of them was right."""
    times = [t.measurement.time_s if t.measurement.ok else None for t in trials]
    first = [s for s in times[:count] if s is not None]
    return min(first, default=float("inf")) / min(s for s in times if s is not None)


def compared(ranking: Ranking, sides: Sequence[Sequence[int]]) -> Compared:
    """How the fastest entries of two sweeps compare.

    Args:
        ranking: of the final.
        sides: of the two sweeps the places of their entries; they may share some.

    Raises:
        TunerError: of one of them no entry has a time.
    """
    chosen, times = [], []
    for side in sides:
        timed = {i: interval.mid for i in side if (interval := ranking.entries[i].interval) is not None}
        if not timed:
            why = ranking.entries[side[0]].error.splitlines() or ["it has no time"]
            raise TunerError(f"nothing of a sweep survived the final: {why[0]}")
        chosen.append(min(timed, key=lambda i: timed[i]))
        times.append(timed[chosen[-1]])
    few, many = chosen
    # A configuration is as fast as it is itself.
    ratio = Interval(1.0, 1.0, 1.0)
    if few != many:
        ratio = ranking.entries[few].turns.over(ranking.entries[many].turns)
    return Compared((few, many), (times[0], times[1]), ratio)


def _final(kernel: Kernel, workload: Workload, trials: Sequence[Trial], workshop: Workshop) -> Ranking:
    """An interleaved final.

    Raises:
        TunerError: one of them cannot be built: it was when it was swept.
    """
    companions = companions_of(kernel, workload, workshop.target)
    with contextlib.ExitStack() as builds:
        finalists = []
        for number, trial in enumerate(trials):
            built = workshop.build(kernel, workload, trial.key.config, companions)
            builds.callback(built.discard)
            if built.artifact is None:
                raise TunerError(f"{kernel.name} at {workload.key}: {built.error.splitlines()[0]}")
            finalists.append(Finalist(f"c{number}", number, built, baseline=number == 0))
        return run_final(workshop, workload, finalists, _ROUNDS, _BUDGET_S * len(finalists))


def _finished(store: "Store", request: SweepRequest, workshop: Workshop) -> list[Trial] | None:
    """The trials of the finished sweep of a store that was asked for this; `None` where there is none."""
    for sweep in reversed(store.sweeps(request.workload.operator, request.workload.key)):
        spec = sweep.spec
        asked = (spec.kernel.digest, spec.protocol.digest, spec.seed, spec.device.fingerprint)
        wanted = (request.kernel.digest, workshop.protocol.digest, request.seed, workshop.device.fingerprint)
        if sweep.status == "finished" and asked == wanted:
            return store.sweep_history(sweep.id)
    return None


def _line(key: str, found: Mapping[str, Any]) -> str:
    if "error" in found:
        return f"{key}: {found['error']}"
    low, middle, high = found["ratio"]
    at = found["sides"][1]["at"]
    ratio = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    return f"{key}: {found['kernel']} {ratio}, the longer sweep's best is trial {at}"


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--minutes", type=minutes, default=_MINUTES, help="stop after so many (default: %(default)g)"
    )
    parser.add_argument(
        "--only", choices=sorted({c.operator for c in CASES}), action="append", help="these only"
    )
    parser.add_argument(
        "--trials", type=int, nargs=2, metavar=("FEW", "MANY"), default=_TRIALS, help="default: 40 400"
    )
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of what is kept")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "search-depth.md")
    told = parser.parse_args()
    if not 0 < told.trials[0] < told.trials[1]:
        parser.error(f"--trials {told.trials[0]} {told.trials[1]}: few, then many")
    return told


def main() -> int:
    """Measures until the time is over, and writes the page; exit code 1 where comparisons are missing."""
    told = _parsed()
    until = time.monotonic() + 60 * told.minutes
    path, folder = told.output / "bench-depth.json", told.output / "bench-depth"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [case for case in CASES if case.operator in (told.only or [case.operator])]

    def measure() -> tuple[int, int]:
        kept = read_kept(path)
        device = campaign.default_device()
        run = kept.setdefault(device.fingerprint, {})

        def save() -> None:
            write_kept(path, kept)
            write_page(told.page, run["about"]["model"], depth_page.body(run), depth_page.HEAD)

        few, many = told.trials
        return DepthBench(device, folder, run, save, (few, many)).run(wanted, until), len(wanted)

    return concluded(measure, told.page, folder)


if __name__ == "__main__":
    sys.exit(main())
