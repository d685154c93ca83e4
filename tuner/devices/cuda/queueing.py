"""How long a GPU is held before a sample while the host queues it: by the measured cost of queueing."""

# The first guess: a launch takes 2 to 5 microseconds of host time, a library call a few more.
FIRST_S = 10e-6
# Beside the launches: the events, and the hold's own launch.
_BASE_S = 30e-6
_MARGIN = 1.5
# A single reading may be of a host that was interrupted: it moves the estimate up by this factor at most.
_RISE = 4.0
# And of what the estimate is too high this share is given up with every sample.
_DECAY = 0.5
MOST_S = 20e-3
"""The longest hold. A host that needs longer is overloaded: a sample of its time is then counted as late."""


class Queueing:
    """The cost of queueing a launch, followed from sample to sample: it rises at once and decays.

    Attributes:
        launch_s: seconds of host time that a launch takes, as far as is known.
    """

    def __init__(self) -> None:
        self.launch_s = FIRST_S

    def hold_s(self, launches: int) -> float:
        """Seconds to hold the GPU for so many launches."""
        return min(MOST_S, _BASE_S + _MARGIN * self.launch_s * launches)

    def took(self, seconds: float, launches: int) -> None:
        """Learns that the host took so many seconds to queue so many launches."""
        measured = min(seconds / max(1, launches), _RISE * self.launch_s)
        over = self.launch_s - measured
        self.launch_s = measured if over <= 0 else self.launch_s - _DECAY * over
