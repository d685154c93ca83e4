"""A tuned kernel for a shape that was not tuned, by the rule of those that were."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from tuner import registry
from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.core.kernel import kind_of
from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.load import load_rows
from tuner.engine.program.tuned_kernel import Origin, TunedKernel
from tuner.engine.tuning.campaign import default_protocol
from tuner.engine.tuning.observer import Observer
from tuner.export.adapt import adapter
from tuner.export.fill import time_all
from tuner.export.local import read_local
from tuner.export.matrix import Adapt, Matrix
from tuner.export.pooled import FEWEST, Pair, Panel
from tuner.export.provenance import same_but_dims
from tuner.export.rule import Rule, make_rule
from tuner.store.records import BestRow

if TYPE_CHECKING:
    from tuner.store.store import Store

WITHIN = 0.05
"""Of its own best: what the rule keeps every tuned shape within, in `tuner.load` and in shared libraries."""

TRIED = 6
"""Configurations that are timed at a shape's first use, at most: each takes about a second."""

_FEWEST = 2
"""Of fewer tuned shapes no rule is made: the nearest one is as good."""


@dataclass(frozen=True)
class RulePick:
    """What the rule picks for a shape.

    Attributes:
        config: adapted to the shape.
        trial: the stored one that proposed it.
        threads: with which the rule's trials were measured.
        note: by which rule, and whether it was sure.
    """

    kernel: str
    config: Config
    trial: int
    threads: int
    note: str


def load_by_rule(
    workload: Workload, rows: Sequence[BestRow], device: Device, store: "Store", kernel: str | None,
    threads: int | None,
) -> TunedKernel | None:  # fmt: skip
    """The kernel that the rule of all tuned shapes picks; `None` where there is no rule to be made.

    A shape that was tuned here is served as `tuner.load` always does.

    Raises:
        Unavailable, BuildError: as `tuner.load`.
    """
    mine = [r for r in rows if r.device.fingerprint == device.fingerprint and kernel in (None, r.kernel.name)]
    if any(row.workload == workload and _serves(row) for row in mine):
        return load_rows(workload, mine, device, kernel)
    served = pick_by_rule(workload, mine, device, store, [kernel] if kernel else (), threads)
    if served is None:
        return None
    found = registry.kernel(served.kernel)
    artifact = build_cached(found, workload, served.config, device.target_for(served.threads))
    return TunedKernel(
        workload, found, served.config, artifact, device,
        Origin(served.trial, None, f"no measurement of {workload.key} here: {served.note}", served.threads),
    )  # fmt: skip


def pick_by_rule(
    workload: Workload, rows: Sequence[BestRow], device: Device, store: "Store", kernels: Sequence[str],
    threads: int | None,
) -> RulePick | None:  # fmt: skip
    """What the rule says of a shape that was not tuned; `None` without a rule, or where it has nothing valid.

    It is the rule of the tuned shapes with the same options, as in a shared library; of all of this dtype
    where fewer than two of those were tuned, but never of frozen ones and others together.

    Args:
        rows: what is stored of the device.
        kernels: only these, if any are named.
        threads: only what was measured with so many; by default the device's own count.
    """
    ruling = _ruling(workload, rows, device, store, kernels, threads)
    if ruling is None:
        return None
    return _pick(workload, ruling, adapter(device.target_for(ruling.matrix.group.threads)))


def try_here(
    workload: Workload, rows: Sequence[BestRow], device: Device, store: "Store", kernel: str | None,
    threads: int | None, observer: Observer | None = None,
) -> bool:  # fmt: skip
    """Times a few of the stored configurations at a shape that nobody tuned, and stores what came out.

    From then on the shape is served by the fastest of them, in other processes too. It counts as tried and
    not as tuned: it teaches later rules, and proposes no configurations.

    Args:
        workload: the shape; one that is stored is not timed again.
        rows: what is stored.
        store: one that can be written.
        observer: is told of every trial.

    Returns:
        Whether anything was timed; not where the shape is stored, or there is no rule.

    Raises:
        TunerError: the shape does not fit in memory.
        MachineFault: the machine failed.
        KeyboardInterrupt: after Ctrl-C; what was measured is stored.
    """
    mine = [r for r in rows if r.device.fingerprint == device.fingerprint and kernel in (None, r.kernel.name)]
    if any(row.workload == workload and _serves(row) for row in mine):
        return False
    ruling = _ruling(workload, mine, device, store, [kernel] if kernel else (), threads)
    if ruling is None:
        return False
    matrix = ruling.matrix
    wanted: dict[tuple[str, Workload], list[Config]] = {}
    adapt = adapter(device.target_for(matrix.group.threads))
    for name, config in worth_a_try(workload, matrix, panel_of(matrix), adapt):
        wanted.setdefault((name, workload), []).append(config)
    protocol = replace(default_protocol(device, threads=matrix.group.threads), cache=matrix.group.cache)
    if not time_all(wanted, device, protocol, store, observer or Observer()):
        raise KeyboardInterrupt(f"{workload.key}: interrupted; what was measured is stored")
    return bool(wanted)


def panel_of(matrix: Matrix) -> Panel | None:
    """The models of a table, which take seconds to learn; `None` where there are too few shapes for any."""
    return None if len(matrix.searched) < FEWEST else Panel(matrix)


def worth_a_try(
    workload: Workload, matrix: Matrix, panel: Panel | None, adapt: Adapt
) -> list[tuple[str, Config]]:
    """The kernels and configurations to time at a shape that nobody tuned, six at most: of all that are
    stored those that the table's models find promising; where there are none, the rule's."""
    pairs: list[Pair] = []
    for choice in matrix.choices if panel else make_rule(matrix, WITHIN, TRIED).choices:
        config = adapt(choice.kernel, workload, choice.config)
        if config is not None and not registry.kernel(choice.kernel).unavailable():
            pair = choice.kernel, dict(config), workload
            pairs += [pair] if pair not in pairs else []
    chosen = panel.promising(pairs, TRIED) if panel and pairs else pairs
    return [(kernel, config) for kernel, config, _ in chosen]


@dataclass(frozen=True)
class _Ruling:
    """The table that makes the rule of a shape, and the rule."""

    matrix: Matrix

    @cached_property
    def rule(self) -> Rule:
        return make_rule(self.matrix, WITHIN)


# To adapt hundreds of configurations to each of sixty shapes takes seconds: a program that loads kernels for
# many shapes does it once, as long as the same is stored.
_KNOWN: dict[Hashable, _Ruling | None] = {}
_MOST_KNOWN = 8


def _ruling(
    workload: Workload, rows: Sequence[BestRow], device: Device, store: "Store", kernels: Sequence[str],
    threads: int | None,
) -> _Ruling | None:  # fmt: skip
    """Of a shape, as `pick_by_rule` says; `None` where there is none."""
    protocol = default_protocol(device, threads=threads)
    kind = kind_of(workload)
    ruled = {w for w in (r.workload for r in rows) if kind_of(w) == kind}
    alike = {w for w in ruled if same_but_dims(w) == same_but_dims(workload)}
    stored = frozenset((r.workload.key, r.trial_id, r.time_s) for r in rows)
    key = (
        store.name, store.count(), stored, frozenset(w.key for w in alike), kind, device.fingerprint,
        protocol.threads, tuple(kernels),
    )  # fmt: skip
    if key not in _KNOWN:
        for oldest in list(_KNOWN)[: len(_KNOWN) + 1 - _MOST_KNOWN]:
            _KNOWN.pop(oldest, None)
        _KNOWN[key] = _read(workload, (alike, ruled), device, store, kernels, protocol.threads)
    return _KNOWN[key]


def _read(
    workload: Workload, classes: Sequence[Collection[Workload]], device: Device, store: "Store",
    kernels: Sequence[str], threads: int,
) -> _Ruling | None:  # fmt: skip
    """The table of the first class of workloads that is enough for one."""
    for shapes in (dict.fromkeys(ruled, 1.0) for ruled in classes):
        if len(shapes) < _FEWEST:
            continue
        try:
            matrix = read_local(
                store, workload.operator, workload.dtype, shapes=shapes, device=device.fingerprint,
                threads=threads, kernels=kernels,
            )  # fmt: skip
        except TunerError:
            continue  # nothing with this thread count is stored of them
        if len(matrix.searched) >= _FEWEST:
            return _Ruling(matrix)
    return None  # the nearest of anything is next


def _pick(workload: Workload, ruling: _Ruling, adapt: Adapt) -> RulePick | None:
    rule = ruling.rule
    picked = rule.pick(workload)
    # Options that the one picked does not honour another one may.
    for choice in (picked.choice, rule.choices[rule.default], *rule.choices):
        config = adapt(choice.kernel, workload, choice.config)
        if config is None or registry.kernel(choice.kernel).unavailable():
            continue
        of = f"by the rule of {len(ruling.matrix.searched)} tuned shapes"
        if choice is not picked.choice:
            of += f", in place of {picked.choice.kernel}, which cannot serve"
        elif not picked.sure:
            of += f", which is unsure: {picked.why}"
        return RulePick(choice.kernel, config, choice.trial, ruling.matrix.group.threads, of)
    return None


def _serves(row: BestRow) -> bool:
    kernel = registry.kernels().get(row.kernel.name)
    return kernel is not None and not kernel.baseline and kernel.unavailable() is None
