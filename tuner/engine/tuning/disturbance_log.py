"""What others took during the turns of a final, and whether it may declare anything."""

from collections.abc import Mapping, Sequence
from typing import Any

_UNEQUAL = 0.1
"""By how much of the cores' time steal may differ between finalists. It is counted in ticks of 10 ms, while a
turn lasts 50: a few percent on average say nothing of a single turn, nor of one finalist."""
_ENOUGH_S = 1.0  # of cores' time: a burst of a few ticks says nothing of less
# The share of disturbed time from which on people are told.
_MUCH = 0.05


class DisturbanceLog:
    """Collects the answers of `quiet.turn`.

    Args:
        count: of finalists.

    Attributes:
        killed: why a sitting ended, where a process was ended from outside.
    """

    def __init__(self, count: int) -> None:
        self._turns = [0] * count
        self._disturbed = [0] * count
        self._others = [0.0] * count  # sum of the shares of disturbed turns
        self._steal_s, self._wall_s = [0.0] * count, [0.0] * count
        self.killed = ""
        self._throttled = 0.0
        self._repeated = 0

    def add(self, i: int, answer: Mapping[str, Any]) -> bool:
        """Notes a turn of finalist `i`; whether it was disturbed."""
        self._turns[i] += 1
        self._steal_s[i] += answer["steal_s"]
        self._wall_s[i] += answer["wall_s"]
        self._throttled += answer["throttled"]
        if answer["disturbed"]:
            self._disturbed[i] += 1
            self._others[i] += answer["others_share"]
        return bool(answer["disturbed"])

    def _steal(self, i: int) -> float:
        return self._steal_s[i] / self._wall_s[i] if self._wall_s[i] else 0.0

    def verdict(self, labels: Sequence[str], good: int, failed: int, fewest: int) -> str:
        """Why nothing may be declared, one line; empty where it may.

        Args:
            labels: of the finalists.
            good, failed: sittings that count, and that do not.
            fewest: sittings that have to count.
        """
        if good < fewest and self.killed and not any(self._disturbed):
            return f"{failed} of {good + failed} sittings were lost, in the last a finalist's: {self.killed}"
        if good < fewest:
            worst = max(range(len(labels)), key=lambda i: self._disturbed[i] / max(1, self._turns[i]))
            count = max(1, self._disturbed[worst])
            held = f"; a CPU quota was used up in {self._throttled:.0f} periods" if self._throttled else ""
            return (
                f"other programs had the cores in {failed} of {good + failed} sittings: "
                f"{self._disturbed[worst]} of {self._turns[worst]} turns of {labels[worst]} were disturbed, "
                f"its threads waited {100 * self._others[worst] / count:.0f}% of their time{held}"
            )
        timed = [i for i in range(len(labels)) if self._wall_s[i] > _ENOUGH_S]
        if timed:
            most, least = max(timed, key=self._steal), min(timed, key=self._steal)
            if self._steal(most) - self._steal(least) > _UNEQUAL:
                return (
                    f"not all saw the same machine: the hypervisor took {100 * self._steal(most):.0f}% of "
                    f"the cores during turns of {labels[most]}, {100 * self._steal(least):.0f}% during those "
                    f"of {labels[least]}"
                )
        return ""

    def remarks(self) -> list[str]:
        """What people should know of a final that declares something all the same, a line each."""
        said = []
        if disturbed := sum(self._disturbed):
            said.append(
                f"{disturbed} of {sum(self._turns)} turns of the final were disturbed by other programs and "
                "do not count"
            )
        if sum(self._wall_s) > _ENOUGH_S and (steal := sum(self._steal_s) / sum(self._wall_s)) > _MUCH:
            said.append(f"the hypervisor took {100 * steal:.0f}% of the cores during the final")
        if self._throttled:
            said.append(f"a CPU quota was used up in {self._throttled:.0f} periods during the final")
        return said
