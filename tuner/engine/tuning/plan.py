"""How the kernels of a campaign are tuned, and which of their configurations meet in its final."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.core.bounds import check_count, check_positive, check_seed
from tuner.core.space import Config
from tuner.engine.tuning.budget import Budget

MOST_NAMED = 12
"""Configurations of one kernel that a user named and that meet in a final, at most: all have processes that
hold the workload's tensors at the same time."""


@dataclass(frozen=True)
class Plan:
    """How every kernel of a campaign is tuned.

    Attributes:
        searcher, seed, budget, resume, remeasure, options, foresee: as in `SweepRequest`.
        finalists: how many of each kernel's best go into the final.
        rounds: of the final; 0 for no final.
        reuse: take a finished sweep of the store that had the same budget or more, in place of a new one.
        refresh_limits: measure the device's peaks again, before and after the final, so that shares of the
            peak are of these minutes.
        give_up_after: trials after which a kernel far behind another one is given up; `None` for never.
        final_within: leave those out of the final whose sweep's best is more than so many times slower
            than the fastest of all; the fastest libraries and the best tuned kernel always take part. `None`
            for all.
        calibrated: time the calibration kernel beside each final, so that another day's can be related to it.
        defaults: by kernel, the configuration that its tuned one is held against in the final, in place of
            the first of its lists.
        seconds: for all sweeps and the final of one workload together; `None` for no such bound. The sweeps
            share what the final is not planned to take (`allotment.py`).
        sittings: of the final, processes of each finalist; fewer than six have no interval over processes.
            `None` for as many as a final has by itself.
        contenders: of tuned kernels only this many meet the libraries, the fastest of them with one
            configuration each and without their defaults and earlier bests: for who asks how fast they are,
            not what tuning them gained. `None` for all of them.
        configs: by kernel, the configurations to measure, all of them and no others of that kernel, in place
            of a search: complete, valid and distinct (`named.py`). They meet in the final, `MOST_NAMED` of a
            kernel at most, beside its default only where `defaults` has one.
        starts: by kernel, configurations that its search begins with, of the same kind.
        winner_only: what is wanted of a workload is its fastest kernel, not what each kernel gains: kernels
            behind give up in stages, and few finalists meet, see `race.py` and `final_stage.py`.
    """

    searcher: str = "random"
    seed: int = 0
    budget: Budget = field(default_factory=lambda: Budget(trials=100))
    resume: bool = False
    remeasure: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    finalists: int = 2
    rounds: int = 25
    reuse: bool = False
    refresh_limits: bool = False
    give_up_after: int | None = None
    final_within: float | None = None
    calibrated: bool = False
    defaults: Mapping[str, Config] = field(default_factory=dict)
    foresee: bool = True
    seconds: float | None = None
    winner_only: bool = False
    sittings: int | None = None
    contenders: int | None = None
    configs: Mapping[str, Sequence[Config]] = field(default_factory=dict)
    starts: Mapping[str, Sequence[Config]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises `TunerError` for a number that is none of its kind."""
        check_seed(self.seed)
        check_count("rounds", self.rounds, 0)
        check_count("finalists", self.finalists)
        for name in ("sittings", "contenders"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.give_up_after is not None:
            check_count("give_up_after", self.give_up_after)
        if self.final_within is not None:
            check_positive("within", self.final_within)
        if self.seconds is not None:
            check_positive("seconds", self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """What was asked, as plain values for the store; not what is to be resumed or reused."""
        asked = {
            "searcher": self.searcher,
            "seed": self.seed,
            "budget": self.budget.as_dict(),
            "options": dict(self.options),
            "give_up_after": self.give_up_after,
            "finalists": self.finalists,
            "rounds": self.rounds,
            "within": self.final_within,
        }
        if self.winner_only:
            asked["winner_only"] = True
        for name in ("sittings", "contenders"):
            if getattr(self, name) is not None:
                asked[name] = getattr(self, name)
        if not self.foresee:
            asked["foresee"] = False
        if self.defaults:
            asked["defaults"] = {name: dict(config) for name, config in self.defaults.items()}
        for name, named in (("configs", self.configs), ("starts", self.starts)):
            if named:
                asked[name] = {kernel: [dict(c) for c in configs] for kernel, configs in named.items()}
        return asked
