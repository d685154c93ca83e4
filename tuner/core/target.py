"""A target: what code is compiled for. Pure data, so any machine can describe any target."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from tuner.core.artifact import Artifact
from tuner.core.errors import UnknownName
from tuner.core.operator import Operator
from tuner.core.workload import Workload


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted time and where it comes from; never a measurement.

    Attributes:
        time_s: of one call.
        bound: the longest part: a key of `parts`.
        parts: seconds that each part alone would take, by the model's own names.
        figures: what else the model has to say of the call, by name: `waves`, `occupancy`.
    """

    time_s: float
    bound: str
    parts: Mapping[str, float]
    figures: Mapping[str, float] = field(default_factory=dict)


class TargetModel:
    """What is known of an artifact on a target without running it. A subclass has no state and says more."""

    def metrics(self, artifact: Artifact, target: "Target") -> dict[str, float]:
        """The artifact's metrics, and what follows from them on the target, for a trial."""
        return {name: float(value) for name, value in artifact.metrics.items()}

    def limiter(self, artifact: Artifact, target: "Target") -> str:
        """The resource that limits how much of an artifact runs side by side; empty where none is known."""
        return ""

    def problem(self, artifact: Artifact, target: "Target") -> str | None:
        """Why the target cannot hold an artifact, or not well; `None` if all is well.

        What a trial of status `over_resources` gives as its error.
        """
        return None

    def predict(
        self, operator: Operator, workload: Workload, artifact: Artifact, features: Mapping[str, float],
        target: "Target",
    ) -> Prediction | None:  # fmt: skip
        """The predicted time of one call, to rank candidates by; `None` where the model has none.

        Args:
            operator, workload: what is computed.
            artifact: built for the target.
            features: of the kernel for this configuration.
            target: what it was built for.
        """
        return None


@dataclass(frozen=True)
class Target:
    """An architecture and its limits.

    Attributes:
        kind: the name of a `TargetKind`: `cpu`, `cuda`, or a plug-in's.
        arch: the instruction set or compute capability: `avx2`, `avx512`, `sm_90`.
        features: what the compiler may use, e.g. `("fma", "avx2")`; sorted, hashable.
        limits: numbers by name, in bytes, counts, hertz or bytes a second, e.g. `l2_bytes`, `cores`.
            Constraints of a search space refer to them by these names.
        model: what can be said of an artifact without running it; `None` where there is no model. A target
            with one can be compiled for and ranked without a device.
        launched: whether kernels are launched on it as a grid of blocks of threads, as on GPUs.
    """

    kind: str
    arch: str
    features: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)
    model: TargetModel | None = field(default=None, compare=False, repr=False)
    launched: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        """`kind:arch`, the form the command line takes."""
        return f"{self.kind}:{self.arch}"

    def limit(self, name: str) -> float:
        """A limit by name.

        Raises:
            UnknownName: the target does not state it; the message lists those it does.
        """
        try:
            return self.limits[name]
        except KeyError:
            raise UnknownName(f"limit of target {self.name}", name, list(self.limits)) from None

    def with_limits(self, **limits: float) -> "Target":
        """The same target with some limits changed or added."""
        return replace(self, limits={**self.limits, **limits})

    def metrics(self, artifact: Artifact) -> dict[str, float]:
        """`TargetModel.metrics`; the artifact's own where there is no model."""
        return (self.model or TargetModel()).metrics(artifact, self)

    def problem(self, artifact: Artifact) -> str | None:
        """`TargetModel.problem`; none where there is no model."""
        return self.model.problem(artifact, self) if self.model else None

    def limiter(self, artifact: Artifact) -> str:
        """`TargetModel.limiter`; empty where there is no model."""
        return self.model.limiter(artifact, self) if self.model else ""

    def predict(
        self, operator: Operator, workload: Workload, artifact: Artifact, features: Mapping[str, float]
    ) -> Prediction | None:
        """`TargetModel.predict`; `None` where there is no model."""
        return self.model.predict(operator, workload, artifact, features, self) if self.model else None

    def __str__(self) -> str:
        return self.name


class TargetKind(ABC):
    """A family of architectures that code can be compiled for, described on any machine.

    A subclass in its own file under `tuner/targets/`, or in a plug-in folder, is found by the registry.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def targets(self) -> Mapping[str, Target]:
        """The described targets by name (`cuda:sm_90`), the plainest first."""

    def default(self) -> Target | None:
        """What kernels are examined for where nobody names a target; `None` for this machine's device."""
        return None

    def product(self, target: Target) -> str:
        """What the limits of a described target are of, for people: a board, a processor."""
        return target.name

    def target(self, arch: str) -> Target:
        """The described target of an architecture, e.g. of `sm_90`.

        Raises:
            UnknownName: there is none; lists those there are.
        """
        known = self.targets()
        name = f"{self.name}:{arch}"
        if name not in known:
            raise UnknownName("target", name, list(known))
        return known[name]

    def unlisted(self, arch: str) -> Target:
        """A target that is not described, of which only the name is known: it has no limits."""
        return Target(self.name, arch)
