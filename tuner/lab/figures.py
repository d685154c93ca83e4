"""What a bench measures: a figure, and what it has to reach."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured figure and what it has to reach.

    Attributes:
        name: what it is.
        value: measured; `None` where it could not be, with `note` saying why.
        unit: of the value.
        goal: at least (or, with `at_most`, at most) this; `None` where it is only reported.
        note: how it was measured, its interval.
    """

    name: str
    value: float | None
    unit: str
    goal: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met; `None` where there is none or nothing was measured."""
        if self.value is None or self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal
