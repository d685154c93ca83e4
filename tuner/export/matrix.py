"""What is stored of one operator as a table: configurations down, shapes across, seconds in the cells."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tuner import registry
from tuner.core.digest import digest
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Status
from tuner.core.protocol import CACHES
from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.store.records import DeviceInfo, StoredSweep

if TYPE_CHECKING:
    from tuner.store.store import Store

Adapt = Callable[[str, Workload, Config], Config | None]
"""A kernel's configuration at another shape: itself, the nearest valid one there, `None` where none is."""

_TIMED = (Evidence.MEASURED, Evidence.REPLAYED)
_PER_SHAPE = 4
"""Of each shape so many of its fastest configurations are asked of all others: what is slower is the rule of
nobody, and each one costs as many measurements as there are shapes."""


@dataclass(frozen=True)
class KernelChoice:
    """A configuration of a kernel: a row of the table.

    Attributes:
        trial: a stored trial of it.
    """

    kernel: str
    config: Config
    trial: int = 0

    @property
    def digest(self) -> str:
        """Identifies it."""
        return digest([self.kernel, dict(self.config)])


@dataclass(frozen=True)
class Group:
    """Times that compare: one device, one thread count, one cache state.

    Attributes:
        evidence: what the times are worth: `measured` or `replayed`.
        stale: trials left out, because the kernel's source has changed since.
    """

    device: DeviceInfo
    threads: int
    cache: str
    evidence: str
    stale: int = 0


@dataclass(frozen=True)
class Matrix:
    """Times of configurations at shapes.

    Attributes:
        operator, dtype: what is computed.
        group: where it was measured.
        shapes: the columns.
        weights: how often each shape occurs; positive.
        choices: the rows.
        times: seconds `[choices, shapes]`; NaN where nothing is stored, infinite where the configuration
            failed or has no valid form at the shape.
        best_s: seconds `[shapes]` of the fastest configuration stored of each shape.
        adapted: what a row is at a column where it is not valid as it is.
        tried: columns nobody searched: a few configurations of other shapes were timed there, at first use.
            `best_s` is the fastest of these alone, so they say which of them to pick and nothing of the rest.
    """

    operator: str
    dtype: str
    group: Group
    shapes: tuple[Workload, ...]
    weights: tuple[float, ...]
    choices: tuple[KernelChoice, ...]
    times: np.ndarray
    best_s: np.ndarray
    adapted: Mapping[tuple[int, int], Config]
    tried: frozenset[int] = frozenset()

    @property
    def missing(self) -> list[tuple[int, int]]:
        """Cells with nothing stored, of shapes that were searched: (row, column)."""
        found = [(int(r), int(c)) for r, c in np.argwhere(np.isnan(self.times))]
        return [(r, c) for r, c in found if c not in self.tried]

    @property
    def searched(self) -> list[int]:
        """The other columns than `tried`."""
        return [c for c in range(len(self.shapes)) if c not in self.tried]

    def config_at(self, row: int, column: int) -> Config:
        """A row's configuration at a column."""
        return self.adapted.get((row, column), self.choices[row].config)

    def ratios(self) -> np.ndarray:
        """Times over the shape's own best; NaN and infinite as in `times`."""
        return np.asarray(self.times / self.best_s[None, :])

    def without(self, column: int) -> "Matrix":
        """The table had one shape never been tuned: its column goes, and the rows that only it proposed."""
        keep = [c for c in range(len(self.shapes)) if c != column]
        searched = self.ratios()[:, [c for c in self.searched if c != column]]
        rows = [r for r in range(len(self.choices)) if (searched[r] <= _near(searched)).any()]
        place = {(r, c): (rows.index(r), keep.index(c)) for r, c in self.adapted if r in rows and c in keep}
        tried = frozenset(keep.index(c) for c in self.tried if c in keep)
        return Matrix(
            self.operator, self.dtype, self.group, tuple(self.shapes[c] for c in keep),
            tuple(self.weights[c] for c in keep), tuple(self.choices[r] for r in rows),
            self.times[np.ix_(rows, keep)], self.best_s[keep],
            {at: self.adapted[old] for old, at in place.items()}, tried,
        )  # fmt: skip


def _near(ratios: np.ndarray) -> np.ndarray:
    """Of each column the ratio up to which a row is among its fastest `_PER_SHAPE`."""
    known = np.where(np.isfinite(ratios), ratios, np.inf)
    place = min(_PER_SHAPE, len(known)) - 1
    return np.asarray(np.sort(known, axis=0)[place])


@dataclass
class _Column:
    """What is stored of one shape: seconds by choice, infinite for a failure.

    Attributes:
        found: choices that a search came upon. Those that somebody named, the adapted ones of `fill` among
            them, are proposed to no other shape: to measure gaps would else make new ones.
    """

    workload: Workload
    times: dict[str, float]
    choices: dict[str, KernelChoice]
    stale: int = 0
    found: set[str] = field(default_factory=set)


def read_matrix(
    store: "Store", operator: str, dtype: str | None = None, *,
    shapes: Mapping[Workload, float] | None = None, device: str | None = None, threads: int | None = None,
    kernels: Sequence[str] = (), adapt: Adapt | None = None,
) -> Matrix:  # fmt: skip
    """Reads the table of an operator.

    Args:
        store: to read.
        operator: its name; of a recording, the name it was stored by.
        dtype: element type; `None` where only one is stored.
        shapes: the columns with their weights, of which those that were tuned are taken; by default all that
            are stored, each of weight 1.
        device: a part of the name or the fingerprint, where several are stored.
        threads: where several are stored.
        kernels: only these.
        adapt: see `Adapt`; by default a configuration is what it is at every shape.

    Raises:
        TunerError: nothing fits, or several devices, thread counts or dtypes do; says how to choose.
    """
    sweeps = _one_group(store, operator, dtype, device, threads, kernels)
    spec = sweeps[0].spec
    wanted = None if shapes is None else {w.key for w in shapes}
    columns: dict[str, _Column] = {}
    for sweep in sweeps:
        key = sweep.spec.workload.key
        if wanted is None or key in wanted:
            column = columns.setdefault(key, _Column(sweep.spec.workload, {}, {}))
            _collect(store, sweep, column)
    found = [c for c in columns.values() if any(math.isfinite(t) for t in c.times.values())]
    if not found:
        raise TunerError(_nothing(operator, sum(c.stale for c in columns.values()), wanted))
    evidence = Evidence.REPLAYED if spec.device.recorded else Evidence.MEASURED
    group = Group(
        spec.device, spec.protocol.threads, spec.protocol.cache, str(evidence), sum(c.stale for c in found)
    )
    weights = tuple(1.0 if shapes is None else float(shapes[c.workload]) for c in found)
    return _table(operator, spec.workload.dtype, group, found, weights, adapt)


def _nothing(operator: str, stale: int, wanted: "set[str] | None") -> str:
    """Why there is no time to choose by."""
    asked = "" if wanted is None else f" at the {len(wanted)} shapes asked for"
    if stale:
        return (
            f"all {stale} times of {operator}{asked} are of kernels whose source has changed since: run "
            f"'tuner sweep {operator}' again"
        )
    if operator not in registry.operators():
        known = ", ".join(registry.operators())
        return f"{operator} is neither an operator ({known}) nor a recording that is stored"
    return f"no times of {operator} are stored{asked}: run 'tuner sweep {operator}' first"


def _one_group(
    store: "Store", operator: str, dtype: str | None, device: str | None, threads: int | None,
    kernels: Sequence[str],
) -> list[StoredSweep]:  # fmt: skip
    groups: dict[tuple[str, int, str, str], list[StoredSweep]] = {}
    for sweep in store.sweeps(operator):
        spec = sweep.spec
        kernel = registry.kernels().get(spec.kernel.name)
        # A library is no configuration of ours, and a trace of an open space is of one shape alone.
        if kernel is not None and (kernel.baseline or kernel.searcher):
            continue
        fits = dtype in (None, spec.workload.dtype) and threads in (None, spec.protocol.threads)
        named = (
            device is None or device.lower() in spec.device.name.lower() or device in spec.device.fingerprint
        )
        if fits and named and (not kernels or spec.kernel.name in kernels) and sweep.statuses.get("ok"):
            place = spec.device.fingerprint, spec.protocol.threads, spec.protocol.cache, spec.workload.dtype
            groups.setdefault(place, []).append(sweep)
    if not groups:
        raise TunerError(_nothing(operator, 0, None))
    groups = _one_state_each(groups)
    if len(groups) > 1:
        listed = "; ".join(
            f"{s[0].spec.device.name} with {t} threads, {cache} cache, {kind}"
            for (_, t, cache, kind), s in list(groups.items())[:8]
        )
        raise TunerError(
            f"several are stored of {operator}: choose with --device, --threads, --dtype: {listed}"
        )
    return next(iter(groups.values()))


def _one_state_each(
    groups: Mapping[tuple[str, int, str, str], list[StoredSweep]],
) -> dict[tuple[str, int, str, str], list[StoredSweep]]:
    """Of several states of the caches the one in which most workloads were tuned."""

    def rank(place: tuple[str, int, str, str]) -> tuple[int, int]:
        return len({sweep.spec.workload for sweep in groups[place]}), -CACHES.index(place[2])

    chosen: dict[tuple[str, int, str], tuple[str, int, str, str]] = {}
    for place in groups:
        others = (place[0], place[1], place[3])
        if others not in chosen or rank(place) > rank(chosen[others]):
            chosen[others] = place
    return {place: groups[place] for place in chosen.values()}


def _collect(store: "Store", sweep: StoredSweep, column: _Column) -> None:
    searcher = registry.searchers().get(sweep.spec.searcher.partition(":")[0])
    searched = searcher is None or searcher.searches
    # A recording may bear the name of a kernel of ours; its source is not here to have changed.
    recorded = sweep.spec.device.recorded
    kernel = None if recorded else registry.kernels().get(sweep.spec.kernel.name)
    for trial in store.sweep_history(sweep.id):
        measurement = trial.measurement
        if measurement.status is Status.ENVIRONMENT or measurement.evidence not in _TIMED:
            continue
        if kernel is not None and kernel.digest != trial.key.kernel_digest:
            column.stale += 1
            continue
        choice = KernelChoice(trial.key.kernel, dict(trial.key.config), trial.id or 0)
        # A pruned trial was stopped because it is far behind: it is no good here, and how bad is not known.
        time_s = measurement.time_s if measurement.ok and measurement.time_s else math.inf
        before = column.times.get(choice.digest, math.inf)
        column.times[choice.digest] = min(time_s, before)
        column.choices.setdefault(choice.digest, choice)
        if searched:
            column.found.add(choice.digest)


def _table(
    operator: str, dtype: str, group: Group, columns: Sequence[_Column], weights: tuple[float, ...],
    adapt: Adapt | None,
) -> Matrix:  # fmt: skip
    tried = frozenset(c for c, column in enumerate(columns) if not column.found)
    named = len(tried) == len(columns)
    if named:
        tried = frozenset()  # nobody searched anywhere: what was named is all there is to choose from
    proposed: dict[str, KernelChoice] = {}
    for column in columns:
        fastest = sorted(
            (t, d) for d, t in column.times.items() if math.isfinite(t) and (named or d in column.found)
        )
        proposed.update((d, column.choices[d]) for _, d in fastest[:_PER_SHAPE])
    choices = tuple(proposed.values())
    times = np.full((len(choices), len(columns)), math.nan)
    adapted: dict[tuple[int, int], Config] = {}
    for c, column in enumerate(columns):
        for r, choice in enumerate(choices):
            known = column.times.get(choice.digest)
            if known is None and adapt is not None:
                config = adapt(choice.kernel, column.workload, choice.config)
                if config is None:
                    known = math.inf
                elif dict(config) != dict(choice.config):
                    adapted[r, c] = config
                    known = column.times.get(KernelChoice(choice.kernel, config).digest)
            if known is not None:
                times[r, c] = known
    best = np.array([min(column.times.values()) for column in columns])
    return Matrix(
        operator, dtype, group, tuple(c.workload for c in columns), weights, choices, times, best, adapted,
        tried,
    )  # fmt: skip
