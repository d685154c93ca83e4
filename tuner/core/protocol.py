"""How a candidate is timed; part of a trial's identity, so that unlike numbers are never mixed."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from tuner.core.digest import digest
from tuner.core.errors import InvalidSetting

RULES = 3
"""1: inputs stayed as they were, and a kernel told its own time. 2: inputs change between calls, results are
compared right after them, and another process has the clock. 3: what a proof waited for a core is taken off,
a request whose clocks are apart is asked again, disturbed samples in the place of quiet ones are marked."""


USER_NAMES = {"sustained_s": "sustained", "clock_mhz": "lock_clock", "between_bytes": "between"}
"""Attributes that users know by other names: keys of experiment files, and options with dashes."""

CACHES = ("model", "warm", "cold")
"""What a call finds in the caches; in the order in which a model's kernels are chosen by their times."""

_UNUSUAL = ("timer", "sustained_s", "clock_mhz", "between_bytes")


@dataclass(frozen=True, slots=True)
class Protocol:
    """The measuring protocol.

    Attributes:
        threads: CPU threads a kernel may use, pinned one to a core.
        cache: `warm` (calls back to back), `cold` (caches evicted before every call) or `model` (as a layer
            of a model finds them: a core's own caches hold other data, but the activations are fresh).
        warmup: calls before the first timed one (the verifying call is one more).
        relative_interval: repeat until half of the 95% interval of the median is at most this share, or the
            candidate is surely behind the incumbent (not where `prune_factor` is 0).
        min_samples, max_samples: bounds of the repetition.
        budget_s: seconds of timed calls after which a candidate has to do with what it has.
        min_sample_s: a sample of a shorter kernel is the mean of enough calls back to back to last so long.
        prune_factor: a candidate whose first timed call takes this many times the incumbent's time is
            dropped there and then; 0 keeps all.
        build_timeout_s, run_timeout_s: wall clock of one build, of one run with its verification.
        memory_bytes: what a build or a run may allocate beyond the warm process it is forked from.
        timer: whose stopwatch it is: empty for the judge's; `triton.testing.do_bench` where a program timed
            its own kernel. Such times are never mixed with the judge's.
        sustained_s: seconds that the candidate keeps the device busy before its first sample, and before
            later ones twice as long as it was idle: the samples are of the clocks under load. 0 for bursts.
        clock_mhz: what the device's clock is held at meanwhile; 0 where it goes as it likes.
        between_bytes: other data that passes through the caches before each call where `cache` is `model`,
            such as the model's other weights; at least what the cores' own caches hold, whatever it says.
    """

    threads: int = 1
    cache: str = "warm"
    warmup: int = 1
    relative_interval: float = 0.02
    min_samples: int = 7
    max_samples: int = 200
    budget_s: float = 0.25
    min_sample_s: float = 100e-6
    prune_factor: float = 2.0
    build_timeout_s: float = 60.0
    run_timeout_s: float = 60.0
    memory_bytes: int = 8 * 2**30
    timer: str = ""
    sustained_s: float = 0.0
    clock_mhz: int = 0
    between_bytes: int = 0

    def __post_init__(self) -> None:
        if self.cache not in CACHES:
            raise InvalidSetting("cache", "is 'warm', 'cold' or 'model'", self.cache)
        if self.between_bytes and self.cache != "model":
            raise InvalidSetting(
                "between_bytes", f"is 0 where the cache is {self.cache!r}", self.between_bytes
            )
        for name in ("threads", "min_samples", "max_samples"):
            if getattr(self, name) < 1:
                raise InvalidSetting(name, "is at least 1", getattr(self, name))
        if self.min_samples > self.max_samples:
            raise InvalidSetting(
                "min_samples", f"is at most max_samples {self.max_samples}", self.min_samples
            )
        for name in ("relative_interval", "min_sample_s", "build_timeout_s", "run_timeout_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InvalidSetting(name, "is a positive number", getattr(self, name))
        for name in (
            "warmup", "budget_s", "prune_factor", "memory_bytes", "sustained_s", "clock_mhz", "between_bytes",
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise InvalidSetting(name, "is at least 0", getattr(self, name))
        if not self.sustained_s <= self.run_timeout_s / 4:
            most = f"is at most {self.run_timeout_s / 4:g} s, a quarter of what a run may last"
            raise InvalidSetting("sustained_s", most, self.sustained_s)

    @property
    def warm(self) -> bool:
        """Whether calls follow each other back to back; else each is a sample, and the caches are seen to
        before it."""
        return self.cache == "warm"

    @property
    def digest(self) -> str:
        """Identifies what a time measured under this protocol means.

        Only what moves the measured value counts: threads, cache state, warm-up, sample length, and where
        they are asked for a load that lasts, a clock that is held and data that passes between calls. A trial
        repeated more often or given a longer timeout is the same quantity, better known. And the rules it was
        taken by: what was timed when inputs never changed is no evidence any more.
        """
        known = [RULES, self.threads, self.cache, self.warmup, self.min_sample_s]
        if self.sustained_s or self.clock_mhz:
            known += [self.sustained_s, self.clock_mhz]
        if self.between_bytes:
            known += ["between", self.between_bytes]
        return digest([*known, self.timer] if self.timer else known)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the store; without what is unusual where it is not asked for, as older records
        are."""
        return {name: value for name, value in asdict(self).items() if name not in _UNUSUAL or value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Protocol":
        """The inverse of `as_dict`; unknown names are ignored, so that older records stay readable."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})
