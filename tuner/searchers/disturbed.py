"""Times of a busy machine: held back from what a searcher learns, unless there is little else."""

from collections.abc import Sequence

from tuner.core.searcher import Observation

# After so many a machine may be one that is always busy: then its times are what there is to learn from. Of
# the timed observations a third must be undisturbed, as of a trial's samples (`core/disturbance.py`).
_FEWEST = 4


class Withheld:
    """Disturbed observations, which get no weight.

    A disturbed time is too long by a factor that nobody knows, 1.05 or 10. A model would take the slowness to
    be the configuration's and keep away from its neighbours, and a smaller weight would only spread the same
    mistake. The configuration counts as tried all the same. What is learned is a function of the sequence of
    observations, so that a resumed sweep learns the same.
    """

    def __init__(self) -> None:
        self._held: list[Observation] = []
        self._clean = self._disturbed = 0

    def admit(self, observation: Observation) -> list[Observation]:
        """What is to be learned now, in order: the observation, nothing, or all that were held back."""
        if observation.value is None:
            return [observation]
        if not observation.disturbed:
            self._clean += 1
            return [observation]
        self._disturbed += 1
        self._held.append(observation)
        if self._disturbed < _FEWEST or 2 * self._clean >= self._disturbed:
            return []
        held, self._held = self._held, []
        return held


def learnable(observations: Sequence[Observation]) -> list[Observation]:
    """Those of a history that count: without disturbed times, unless fewer than a third are undisturbed."""
    timed = [o for o in observations if o.value is not None]
    disturbed = sum(o.disturbed for o in timed)
    if 2 * (len(timed) - disturbed) < disturbed:
        return list(observations)
    return [o for o in observations if o.value is None or not o.disturbed]
