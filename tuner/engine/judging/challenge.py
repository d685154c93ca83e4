"""What a kernel under the clock is asked that it cannot foresee.

Before every call an element of an input changes in place; of some samples, which the kernel cannot tell from
the others, a few output elements are poisoned before and compared after. A kernel that answers from memory
(by pointer, by a fingerprint of its inputs, from what it packed before), that skips calls, or computes after
it has returned, has the old values or the poison there.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.changes import Changes
from tuner.core.excerpt import Excerpt
from tuner.core.operator import Tensors
from tuner.engine.judging.dataset import Dataset

_PLACES, _VALUES = 4, 256
# More places each time that no output moved by enough to be seen; a whole row of a large matrix at last.
_MORE = 8
# Where a change moves an output by this many tolerances, a stale result can be told from a right one.
_SEEN = 4.0
# A tolerance is made for inputs as they are drawn; here some were exchanged.
_SLACK = 2.0


@dataclass(frozen=True)
class Challenge:
    """One sample's.

    Attributes:
        calls: how many.
        changes: of one input.
        excerpt: what is compared; `None` for a sample that is not.
        expected, allowed: of the compared elements, flat, by output.
        telling: whether a result from before the changes would be found wrong.
    """

    calls: int
    changes: Changes | None
    excerpt: Excerpt | None = None
    expected: Tensors | None = None
    allowed: Tensors | None = None
    telling: bool = False

    def as_plain(self) -> dict[str, Any]:
        """What the runner is told: not what is expected."""
        told: dict[str, Any] = {"calls": self.calls}
        if self.changes is not None:
            told["changes"] = {
                "name": self.changes.name, "places": self.changes.places.tolist(),
                "values": base64.b64encode(self.changes.values.tobytes()).decode(),
            }  # fmt: skip
        if self.excerpt is not None:
            told["probe"] = {name: at.tolist() for name, at in self.excerpt.outputs.items()}
        return told

    def problem(self, dtypes: Mapping[str, str], probes: Mapping[str, str]) -> str | None:
        """What is wrong with the elements a runner shows after the sample; `None` if nothing.

        Raises:
            KeyError, ValueError: it shows something else.
        """
        if self.excerpt is None or self.expected is None or self.allowed is None:
            return None
        for name, known in self.expected.items():
            shown = np.frombuffer(base64.b64decode(probes[name], validate=True), dtypes[name])
            if shown.shape != known.shape:
                raise ValueError(f"{shown.size} elements of {name}, not {known.size}")
            with np.errstate(invalid="ignore", over="ignore"):
                error = np.abs(shown.astype(np.float64) - known)
            # A NaN compares false with everything, so the right ones are named, not the wrong ones.
            right = (error <= _SLACK * self.allowed[name]) | (shown == known)
            if not right.all():
                place = int(np.argmin(right))
                at = int(self.excerpt.outputs[name][place])
                return (
                    f"{name} at flat index {at} is {float(shown[place]):.9g}, not {float(known[place]):.9g}; "
                    f"{int((~right).sum())} of {known.size} wrong"
                )
        return None


def moved(array: np.ndarray, rows: int) -> np.ndarray:
    """An array with its rows (last axis) moved cyclically by so many places; of one row, its elements."""
    return np.roll(array.reshape(_rows(array), -1), rows, axis=0).reshape(array.shape)


def _rows(array: np.ndarray) -> int:
    """What `moved` moves: rows where there are several, else elements."""
    rows = array.size // array.shape[-1] if array.ndim > 1 else 1
    return rows if rows > 1 else array.size


class Challenger:
    """Makes the challenges of one run, and knows what its inputs hold after each.

    Args:
        data: of the workload; its `mirror` is as the inputs were drawn except while something is computed.
        constant: inputs that the kernel may take to be the same in every call, such as packed weights.
        rng: the judge's own.
    """

    def __init__(self, data: Dataset, constant: Sequence[str], rng: np.random.Generator) -> None:
        self._data, self._rng = data, rng
        self._dtypes = {spec.name: spec.dtype for spec in data.layout.signature}
        probe = data.operator.excerpt(data.workload, data.inputs, rng)
        self._names = [name for name in probe.inputs if name not in constant]
        self._places = dict.fromkeys(self._names, _PLACES)
        # What the runner's inputs hold in place of what was drawn, by input: places and values; of several
        # changes of one place the last.
        self._held: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._turn = 0
        self._proven: set[str] = set()

    @property
    def unproven(self) -> tuple[str, ...]:
        """Inputs of which no comparison has shown yet that the kernel reads them anew."""
        return tuple(name for name in self._names if name not in self._proven)

    def draw(self, calls: int, compared: bool) -> Challenge:
        """The next sample's challenge."""
        if not self._names:
            return Challenge(calls, None)
        # First the inputs that no comparison has shown to be read anew.
        names = list(self.unproven) or self._names
        name = names[self._turn % len(names)]
        self._turn += 1
        data = self._data
        if not compared:
            return Challenge(calls, self._change(name, None, calls))
        excerpt = data.operator.excerpt(data.workload, data.inputs, self._rng)
        # Whether the change shows matters only as long as nothing is known of the input.
        before = None if name in self._proven else self._expected(excerpt)[0]
        changes = self._change(name, excerpt.inputs[name], calls)
        expected, allowed = self._expected(excerpt)
        if before is None:
            return Challenge(calls, changes, excerpt, expected, allowed)
        telling = any(
            bool((np.abs(known - before[output]) > _SEEN * allowed[output]).any())
            for output, known in expected.items()
        )
        if not telling:
            self._places[name] *= _MORE
        return Challenge(calls, changes, excerpt, expected, allowed, telling)

    @property
    def changing(self) -> tuple[str, ...]:
        """The inputs that change."""
        return tuple(self._names)

    def draw_whole(self, other: bool, names: Sequence[str]) -> tuple[int, Challenge]:
        """A call on inputs as they were drawn but for a few elements, or with all their rows moved: by how
        many, and the challenge.

        What the runner's inputs hold is forgotten: it writes them anew for this call, and for the next one.

        Args:
            other: whether rows are moved.
            names: of the inputs that are written anew.
        """
        self._held = {}
        data = self._data
        excerpt = data.operator.excerpt(data.workload, data.inputs, self._rng)
        if other:
            rows = self._rows_to_move(names)
            inputs = {name: moved(x, rows) if name in names else x for name, x in data.inputs.items()}
            return rows, Challenge(1, None, excerpt, *excerpt.expected(data.operator, inputs))
        changed = names[int(self._rng.integers(len(names)))]
        changes = self._change(changed, excerpt.inputs[changed], 1)
        challenge = Challenge(1, changes, excerpt, *self._expected(excerpt))
        self._held = {}
        return 0, challenge

    def _rows_to_move(self, names: Sequence[str]) -> int:
        """A number that leaves none of these inputs as it is, as a multiple of its rows would."""
        counts = [count for name in names if (count := _rows(self._data.inputs[name])) > 1]
        while True:
            rows = int(self._rng.integers(1, 2**20))
            if all(rows % count for count in counts):
                return rows

    def _expected(self, excerpt: Excerpt) -> tuple[Tensors, Tensors]:
        """What an excerpt's elements are for what the runner's inputs hold now."""
        data = self._data
        try:
            for name, (places, values) in self._held.items():
                data.mirror[name].reshape(-1)[places] = values
            return excerpt.expected(data.operator, data.mirror)
        finally:
            for name, (places, _) in self._held.items():
                data.mirror[name].reshape(-1)[places] = data.inputs[name].reshape(-1)[places]

    def settle(self, challenge: Challenge, probes: Mapping[str, str]) -> str | None:
        """Compares what a runner shows; see `Challenge.problem`."""
        found = challenge.problem(self._dtypes, probes)
        if found is None and challenge.telling and challenge.changes is not None:
            self._proven.add(challenge.changes.name)
        return found

    def _change(self, name: str, among: np.ndarray | None, calls: int) -> Changes:
        """The next changes of an input, at places of an excerpt or anywhere; kept as what it holds then."""
        original = self._data.inputs[name]
        flat, row = original.reshape(-1), original.shape[-1]
        count = min(self._places[name], flat.size if among is None else among.size)
        if among is None:
            places = np.unique(self._rng.integers(flat.size, size=count))
        else:
            places = self._rng.choice(among, count, replace=False)
        total = places.size * -(-_VALUES // places.size)
        # The new values come from the same column of the same tensor: columns may differ in scale.
        steps = self._rng.integers(1, max(2, flat.size // row), total) * (row if original.ndim > 1 else 1)
        values = np.ascontiguousarray(flat[(np.resize(places, total) + steps) % flat.size])
        changes = Changes(name, places, values)
        held, kept = self._held.get(name, (places[:0], values[:0]))
        self._held[name] = np.concatenate((held, places)), np.concatenate((kept, changes.final(calls)))
        return changes

    def restore(self) -> None:
        """The runner's inputs are as they were drawn again; its next plain call sees to that."""
        self._held = {}
