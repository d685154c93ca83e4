"""Comparisons of our kernels with libraries, case by case: what the benches of CPUs and GPUs do alike."""

import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple
from datetime import date
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
from tuner.core.protocol import Protocol
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.core.workload import Workload
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.finals import FinalPlacing, Ranking
from tuner.engine.tuning.peaks import Peaks
from tuner.lab.comparison_data import Case
from tuner.lab.least_times import Roofs

if TYPE_CHECKING:
    from tuner.core.device import Device
    from tuner.store.store import Store

# A case that was told to end and does not is told again so often.
_TOLD_AGAIN_S = 10.0


class NoKernel(TunerError):
    """No kernel of ours takes a case: another run would find none either."""


class Bound:
    """Ends what is done within, once it took so long: as Ctrl-C does, so that what was measured is stored.

    Args:
        seconds: how long; `None` for ever.

    Attributes:
        reached: whether it was ended.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.reached = seconds, False

    def _end(self, *_: object) -> None:
        self.reached = True
        raise KeyboardInterrupt

    def __enter__(self) -> "Bound":
        if self.seconds is not None:
            self._before = signal.signal(signal.SIGALRM, self._end)
            signal.setitimer(signal.ITIMER_REAL, self.seconds, _TOLD_AGAIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self.seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)


class Comparisons(ABC):
    """The comparisons of one run on one device; each is a campaign that ends in a final.

    Args:
        device: what is measured.
        store: keeps every trial.
        kept: what earlier runs of this device found, `about` it and `cases` by their keys; added to.
        save: called after each comparison.
        trials: of a sweep.
        case_s: seconds after which a case is given up; `None` for no such bound.
    """

    def __init__(
        self, device: "Device", store: "Store", kept: dict[str, Any], save: Callable[[], None], trials: int,
        case_s: float | None = None,
    ) -> None:  # fmt: skip
        self.device, self.store, self.kept, self.trials = device, store, kept, trials
        self._save, self._case_s = save, case_s
        kept.setdefault("cases", {})
        kept.setdefault("about", {}).setdefault("speeds", {})

    @abstractmethod
    def protocol(self, case: Any) -> Protocol:
        """How a case is timed; cases of one protocol that follow each other share a workshop."""

    @abstractmethod
    def plan(self, first: bool) -> campaign.Plan:
        """How a case is tuned; `first` says that it is the first one of its workshop."""

    @abstractmethod
    def kernels(self, workload: Workload, workshop: Workshop) -> tuple[list[Kernel], dict[str, str]]:
        """Our kernels and the libraries that take part, and why others do not."""

    @abstractmethod
    def roofs(self, case: Any, workload: Workload, peaks: Mapping[str, float]) -> Roofs:
        """The least time of a case; `peaks` are those that its campaign knows."""

    def peaks(self, workshop: Workshop) -> Peaks | None:
        """The device's, measured once a workshop; `None` where each campaign sees to that."""
        return None

    def row(self, case: Any) -> dict[str, Any]:
        """What a case's row has whatever comes of it."""
        return asdict(case)

    def beside(self, outcome: campaign.CampaignOutcome, ours: str) -> dict[str, Any]:
        """What a row has besides where there was a final; `ours` is our fastest kernel there."""
        return {}

    def ratio(self, library: Turns, ours: Turns) -> Interval:
        """A library's time over ours."""
        return library.over(ours)

    def run(self, wanted: Sequence[Any], until: float) -> int:
        """Measures what is missing, until a moment of the monotonic clock; how many are still missing."""
        missing = deque(case for case in wanted if not self.known(case))
        while missing and time.monotonic() < until:
            protocol = self.protocol(missing[0])
            with Workshop(self.device, protocol, campaign.fresh_seed()) as workshop:
                peaks, first = self.peaks(workshop), True
                while missing and self.protocol(missing[0]) == protocol and time.monotonic() < until:
                    sound = self._one(missing.popleft(), workshop, first, peaks)
                    first = False
                    if not sound:
                        break  # nobody knows what its processes are at: new ones
        return sum(not self.known(case) for case in wanted)

    def known(self, case: Any) -> bool:
        """Whether it was measured, or cannot be."""
        found = self.kept["cases"].get(case.key)
        return bool(found and (found.get("ours_s") or found.get("unserved")))

    def _one(self, case: Any, workshop: Workshop, first: bool, peaks: Peaks | None) -> bool:
        """Measures a case and keeps what came of it; whether the workshop is as it was before."""
        workload = registry.operator(case.operator).parse(case.shape, case.dtype)
        found = {**self.row(case), "date": date.today().isoformat(), "trials": self.trials}
        sound, begun, bound = False, time.monotonic(), Bound(self._case_s)
        try:
            with bound:
                found |= self._compare(case, workload, workshop, first, peaks)
            sound = True
        except KeyboardInterrupt:
            if not bound.reached:
                raise
            found["error"] = f"given up: it was not done within {bound.seconds:g} s"
        except TunerError as error:
            found |= {"error": str(error).splitlines()[0], "unserved": isinstance(error, NoKernel)}
            sound = True
        except Exception as error:  # a fault of ours: the other cases are measured all the same
            traceback.print_exc()
            found["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
        if sound:
            workshop.forget(registry.operator(case.operator), workload)
        found["took_s"] = round(time.monotonic() - begun, 1)
        self.kept["cases"][case.key] = found
        self.kept["about"]["date"] = found["date"]
        self._save()
        print(_line(case, found), flush=True)
        return sound

    def _compare(
        self, case: Any, workload: Workload, workshop: Workshop, first: bool, peaks: Peaks | None
    ) -> dict[str, Any]:
        kernels, skipped = self.kernels(workload, workshop)
        if not any(not kernel.baseline for kernel in kernels):
            raise NoKernel(f"no kernel of ours has {case.dtype}")
        setting = campaign.Setting(self.device, workshop.protocol, self.plan(first), self.store)
        outcome = campaign.run_campaign(workload, kernels, setting, skipped, shared=workshop, peaks=peaks)
        if outcome.interrupted:
            raise KeyboardInterrupt
        if outcome.ranking is None:
            missing = next((f": {name}: {why}" for name, why in skipped.items()), "")
            raise TunerError(f"no final was held, which needs two{missing}")
        if outcome.ranking.disturbed:
            raise TunerError(f"disturbed: {outcome.ranking.disturbed}")
        least, found = self.roofs(case, workload, outcome.limits), placings(outcome.ranking, self.ratio)
        roofs = {"compute_s": least.compute, "levels_s": dict(least.levels)}
        return {**found, **self.beside(outcome, found["ours"]), **_spent(outcome), **roofs}


def placings(ranking: Ranking, ratio: Callable[[Turns, Turns], Interval] = Turns.over) -> dict[str, Any]:
    """Our fastest kernel and the best library of a final.

    Of a frozen workload the libraries' frozen modes take part, of others nobody that lays weights out ahead
    does (`Kernel.only_frozen`), so that what stands here did the same work.

    Args:
        ranking: of the final.
        ratio: a library's time over ours, with its interval.

    Returns:
        `ours`, `ours_s`; `best`, `best_s`, `ratio` (its time over ours: low, middle, high), left out where no
        library has a time; `libraries`: seconds by name.

    Raises:
        TunerError: none of ours has a time.
    """
    timed = [(entry.interval.mid, entry) for entry in ranking.entries if entry.interval]
    ours = _fastest([(mid, e) for mid, e in timed if not e.finalist.baseline])
    if ours is None:
        raise TunerError("none of our kernels was right in the final")
    libraries = [(mid, e) for mid, e in timed if e.finalist.baseline]
    found: dict[str, Any] = {
        "ours": ours.finalist.label, "ours_s": min(mid for mid, e in timed if e is ours),
        "libraries": {e.finalist.label: mid for mid, e in libraries},
    }  # fmt: skip
    best = _fastest(libraries)
    if best is not None:
        found["best"] = best.finalist.label
        found["best_s"] = found["libraries"][best.finalist.label]
        found["ratio"] = list(astuple(ratio(best.turns, ours.turns)))
    return found


def versions(packages: Sequence[str]) -> list[str]:
    """Those of these packages that are installed, with their versions."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _fastest(timed: Sequence[tuple[float, FinalPlacing]]) -> FinalPlacing | None:
    return min(timed, key=lambda pair: pair[0])[1] if timed else None


def _spent(outcome: campaign.CampaignOutcome) -> dict[str, float]:
    """Seconds of the sweeps, and of their trials on the device: the rest of a case is its final, mostly."""
    sweeps = outcome.sweeps.values()
    ran_s = sum(trial.measurement.run_s for sweep in sweeps for trial in sweep.trials)
    return {"swept_s": round(sum(sweep.seconds for sweep in sweeps), 1), "ran_s": round(ran_s, 1)}


def _line(case: Case, found: Mapping[str, Any]) -> str:
    took = f"{found['took_s']:.0f} s"
    if "error" in found:
        return f"{case.key}: {found['error']} ({took})"
    against = f"{found['ratio'][1]:.2f}x {found['best']}" if "ratio" in found else "no library"
    spent = f"{took}, {found['swept_s']:.0f} s of them sweeps, {found['ran_s']:.0f} s of these runs"
    return f"{case.key}: {found['ours']} {found['ours_s']:.3g} s, {against} ({spent})"
