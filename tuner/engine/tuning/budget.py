"""When a sweep ends."""

from dataclasses import dataclass

from tuner.core.bounds import check_budget


@dataclass(frozen=True, slots=True)
class Budget:
    """When a sweep ends: at whichever comes first; `None` is no bound.

    Attributes:
        trials: proposals, reused ones included.
        seconds: wall clock of this run of the sweep.
        patience: proposals since the last improvement of the best time.
    """

    trials: int | None = None
    seconds: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "seconds", "patience"):
            check_budget(name, getattr(self, name))

    def as_dict(self) -> dict[str, float]:
        """The bounds that are set."""
        values = {"trials": self.trials, "seconds": self.seconds, "patience": self.patience}
        return {name: value for name, value in values.items() if value is not None}
