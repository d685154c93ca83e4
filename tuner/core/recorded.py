"""A search space that others measured exhaustively: every configuration with what came of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tuner.core.digest import digest
from tuner.core.listed_space import ListedSpace
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.space import Config, Parameter


def slug(text: str) -> str:
    """A short word of lower-case letters, digits and underscores: `nvidia_geforce_rtx_3090`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60] or "unknown"


@dataclass(frozen=True)
class RecordedTrial:
    """One configuration of a recorded space; all times in seconds.

    Attributes:
        config: the parameters' values.
        status: how it ended.
        samples: the recorded times of one call each; empty for a failure.
        objective_s: the recorder's own summary of them (Kernel Tuner: the mean); `None` for a failure.
        error: the recorder's word for a failure, e.g. `CompilationFailedConfig`.
        phases: what was spent on it, only what was recorded: `compile`, `verify`, `benchmark`,
            `strategy`, `framework`.
        timestamp: as recorded, ISO 8601; may be empty.
        metrics: other recorded numbers, e.g. `GFLOP/s`.
    """

    config: Config
    status: Status
    samples: tuple[float, ...] = ()
    objective_s: float | None = None
    error: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)
    timestamp: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def build_s(self) -> float:
        """Seconds of compiling it."""
        return self.phases.get("compile", 0.0)

    @property
    def run_s(self) -> float:
        """Seconds of verifying and timing it; the sum of its samples where that was not recorded."""
        return self.phases.get("verify", 0.0) + self.phases.get("benchmark", sum(self.samples))

    @cached_property
    def measurement(self) -> Measurement:
        """The outcome as a trial's measurement: evidence `replayed`, all samples kept."""
        return Measurement(
            self.status, Evidence.REPLAYED, samples=self.samples, error=self.error, build_s=self.build_s,
            run_s=self.run_s, metrics=dict(self.metrics),
        )  # fmt: skip

    @cached_property
    def objective_measurement(self) -> Measurement:
        """The same with the recorder's own summary as the only sample, to compare with its searchers."""
        samples = () if self.objective_s is None else (self.objective_s,)
        return Measurement(
            self.status, Evidence.REPLAYED, samples=samples, error=self.error, build_s=self.build_s,
            run_s=self.run_s,
        )  # fmt: skip


@dataclass(frozen=True)
class RecordedSpace:
    """All recorded configurations of one kernel on one device.

    Attributes:
        kernel: its name.
        device: the device's name as its vendor spells it.
        problem: the problem size, in the recorder's order.
        parameters: with their values in the recorder's order.
        trials: one a configuration, distinct.
        device_facts: numbers about the device, where the file has them.
        notes: what a person should know of how it was read: what was left out, what was not as expected.
    """

    kernel: str
    device: str
    problem: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    trials: tuple[RecordedTrial, ...]
    device_facts: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """`Xgemm 4096x4096 on NVIDIA GeForce RTX 3090`, for people."""
        size = "x".join(map(str, self.problem))
        return f"{self.kernel} {size} on {self.device}" if size else f"{self.kernel} on {self.device}"

    @property
    def target(self) -> str:
        """The name of the target, of a kind that nothing compiles for: `replay:nvidia_geforce_rtx_3090`."""
        return f"replay:{slug(self.device)}"

    @property
    def fingerprint(self) -> str:
        """Of the device; never that of one that measures: replayed trials do not mix with measured ones."""
        return f"{self.target}:{digest([self.device, dict(self.device_facts)])}"

    @property
    def facts(self) -> dict[str, Any]:
        """What a store should keep of the device: its name as `model`, and its numbers."""
        return {"model": self.device, **self.device_facts}

    @cached_property
    def space(self) -> ListedSpace:
        """The configurations as a search space; those that failed belong to it."""
        return ListedSpace(self.parameters, [t.config for t in self.trials])

    @cached_property
    def by_rank(self) -> tuple[RecordedTrial, ...]:
        """The trials in the order of the space's ranks."""
        ranked = {self.space.rank(t.config): t for t in self.trials}
        return tuple(ranked[rank] for rank in range(len(self.trials)))

    def outcome(self, config: Config) -> RecordedTrial:
        """What was recorded for a configuration.

        Raises:
            InvalidConfig: it is not recorded.
        """
        rank = self.space.rank(self.space.check(config))
        assert rank is not None  # checked
        return self.by_rank[rank]

    @cached_property
    def optimum_s(self) -> float | None:
        """The least `objective_s`; `None` where everything failed."""
        return min((t.objective_s for t in self.trials if t.objective_s is not None), default=None)
