"""How well one rule serves shapes that nobody tuned: 60 GEMMs, 30 of them tuned, 30 held out.

On the CPU the held-out shapes are tuned too, but only to know their best: what the rule picks for each is
timed beside it in turns. On recorded spaces the times are those of the recording.
"""

import contextlib
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.scratch import Scratch
from tuner.core.space import Config
from tuner.core.workload import Workload
from tuner.core.workload_sets import set_names, workload_set
from tuner.engine.candidate.domain import companions_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.finals import Finalist, run_final
from tuner.engine.tuning.observer import Observer
from tuner.export.adapt import adapter
from tuner.export.fill import fill, time_all
from tuner.export.local import read_local
from tuner.export.matrix import Matrix, read_matrix
from tuner.export.rule import Rule, make_rule
from tuner.export.serve import TRIED, panel_of, worth_a_try
from tuner.lab.figures import Figure
from tuner.store.store import open_store

if TYPE_CHECKING:
    from tuner.core.device import Device
    from tuner.core.protocol import Protocol
    from tuner.store.store import Store

WITHIN, AT_MOST, SHARE = 0.05, 6, 0.9
"""A held-out shape is served well within this share of its own best, by so many configurations at most; so
many shapes have to be."""
_KERNEL = "cpp_packed"
# Seconds are of one configuration.
_ROUNDS, _BUDGET_S, _TRIES = 18, 3.0, 2
# Operations of one call: beyond, a shape takes longer to tune than it tells.
_FLOPS = 2**32
_SIZES = (16, 2048)


def shapes(count: int, seed: int = 0) -> tuple[list[Workload], list[Workload]]:
    """GEMMs of known networks, filled up with random ones: half to be tuned, half to be held out.

    Dimensions of random ones are log-uniform in 16 to 2048; a third of them are multiples of 16.

    Args:
        count: how many in all.
        seed: of the random ones, and of who is held out.
    """
    operator, rng = registry.operator("gemm"), random.Random(seed)
    layers = [layer for name in set_names() for layer in workload_set(name).of("gemm")]
    found = dict.fromkeys(operator.parse(layer.shape) for layer in layers)
    chosen = [w for w in found if not w.options and operator.flops(w) <= _FLOPS][: count // 2]
    low, high = _SIZES
    while len(chosen) < count:
        m, n, k = (int(low * (high / low) ** rng.random()) for _ in range(3))
        if rng.random() < 1 / 3:
            m, n, k = (max(16, size // 16 * 16) for size in (m, n, k))
        workload = operator.workload("f32", m=m, n=n, k=k)
        if operator.flops(workload) <= _FLOPS and workload not in chosen:
            chosen.append(workload)
    rng.shuffle(chosen)
    return chosen[: count // 2], chosen[count // 2 :]


@dataclass(frozen=True)
class _Asked:
    """A held-out shape, and the configurations whose times are compared there.

    Attributes:
        own: what tuning it found.
        picked: what the rule says of it.
        tried: the fastest of those that `load(measure=True)` times there at first use.
    """

    workload: Workload
    own: Config
    picked: Config
    tried: Config


def dispatch(store: "Store", trials: int = 40, count: int = 60, reuse: bool = False) -> list[Figure]:
    """The figures of this machine's CPU. Takes 50 minutes; a second run goes on with what is stored.

    Args:
        store: keeps every trial.
        trials: of each shape's sweep.
        count: of shapes.
        reuse: tune nothing: only what the rule picks is timed beside the stored winners. Ten minutes.

    Raises:
        TunerError: with `reuse`, where there is nothing to reuse.
    """
    device = campaign.default_device()
    protocol = campaign.default_protocol(device)
    tuned, held_out = shapes(count)
    read = partial(
        read_local, store, "gemm", "f32", shapes=dict.fromkeys(tuned, 1.0), device=device.fingerprint,
        threads=protocol.threads, kernels=[_KERNEL],
    )  # fmt: skip
    if not reuse:
        setting = campaign.Setting(
            device, protocol,
            campaign.Plan("auto", 0, Budget(trials=trials), resume=True, reuse=True, rounds=0), store,
        )  # fmt: skip
        for workload in [*tuned, *held_out]:
            kernels, _ = campaign.choose_kernels(workload, device, protocol, [_KERNEL], baselines=False)
            campaign.run_campaign(workload, kernels, setting)
        fill(read(), device, protocol, store, Observer())
    matrix = read()
    rule = make_rule(matrix, WITHIN, AT_MOST)
    asked = _asked(store, rule, matrix, held_out, device, protocol)
    picked, tried, disturbed = _side_by_side(asked, device, protocol)
    unserved = {w.key: math.inf for w in held_out if all(one.workload != w for one in asked)}
    note = f"of {len(held_out)} held-out shapes, {len(tuned)} tuned, {_KERNEL}, "
    note += "what was stored" if reuse else f"{trials} trials"
    note += f"; {disturbed} left out: other programs had the cores" if disturbed else ""
    what = "dispatch, gemm f32"
    picked |= unserved
    figures = _figures(what, len(rule.choices), list(picked.values()), _worst(picked, note))
    tried |= unserved
    # No goal: six are timed at each shape, of all that are stored, where the goal is of six for all shapes.
    note = _worst(tried, note)
    return figures + _figures(f"{what}, timed at first use", TRIED, list(tried.values()), note, goal=False)


def _worst(ratios: Mapping[str, float], note: str) -> str:
    """The note, with the shapes that are served worst."""
    last = sorted(ratios, key=lambda key: -ratios[key])[:4]
    return f"{len(ratios)} {note}; worst: " + ", ".join(f"{key} {ratios[key]:.2f}" for key in last)


def _asked(
    store: "Store", rule: Rule, matrix: Matrix, held_out: Sequence[Workload], device: "Device",
    protocol: "Protocol",
) -> list[_Asked]:  # fmt: skip
    """What is compared at each held-out shape that has a stored winner and is served by the rule."""
    adapt = adapter(device.target_for(protocol.threads))
    found: list[_Asked] = []
    # Elsewhere than in `store`, whose best of a held-out shape is to be what tuning it found.
    with Scratch("bench-tried-") as folder, open_store(folder / "tried.db") as tries:
        place = device.fingerprint, _KERNEL, protocol.threads
        panel = panel_of(matrix)
        wanted = {(_KERNEL, w): [c for _, c in worth_a_try(w, matrix, panel, adapt)] for w in held_out}
        time_all(wanted, device, protocol, tries, Observer())
        for workload in held_out:
            own, tried = (there.best("gemm", workload.key, *place) for there in (store, tries))
            picked = adapt(_KERNEL, workload, rule.predict(workload).choice.config)
            if own and tried and picked is not None:
                found.append(_Asked(workload, own[0].config, picked, tried[0].config))
    return found


def _figures(what: str, count: int, ratios: Sequence[float], note: str, goal: bool = True) -> list[Figure]:
    """The share served well, the number of configurations, and how far the others are."""
    if not ratios:
        return [Figure(f"{what}: held-out shapes within {WITHIN:.0%}", None, "", SHARE, note=note)]
    good = sum(ratio <= 1 + WITHIN for ratio in ratios) / len(ratios)
    share, most = (SHARE, float(AT_MOST)) if goal else (None, None)
    return [
        Figure(f"{what}: held-out shapes within {WITHIN:.0%} of tuning each", good, "", share, note=note),
        Figure(f"{what}: configurations", count, "", most, True),
        _over_best(f"{what}: median held-out time over its own best", statistics.median(ratios)),
        _over_best(f"{what}: worst held-out time over its own best", max(ratios)),
    ]


def _over_best(name: str, ratio: float) -> Figure:
    """A ratio; infinite where the configuration was dropped as far behind, or none is valid there."""
    if math.isfinite(ratio):
        return Figure(name, ratio, "x")
    return Figure(name, None, "x", note="not served, or so far behind that its time was not taken")


def _side_by_side(
    asked: Sequence[_Asked], device: "Device", protocol: "Protocol"
) -> tuple[dict[str, float], dict[str, float], int]:
    """By shape the time over its own best of what was picked, and of what was tried; and how many are
    disturbed."""
    picked: dict[str, float] = {}
    tried: dict[str, float] = {}
    disturbed = 0
    with Workshop(device, protocol, campaign.fresh_seed()) as workshop:
        workshop.warm([registry.kernel(_KERNEL)])
        for one in asked:
            operator = registry.operator(one.workload.operator)
            workshop.prepare(operator, one.workload)
            configs = [dict(one.own), dict(one.picked), dict(one.tried)]
            distinct = [c for i, c in enumerate(configs) if c not in configs[:i]]
            ratios: list[float] | None = None
            for _ in range(_TRIES):
                ratios = _ratios(workshop, one.workload, distinct)
                if ratios is not None:
                    break
            workshop.forget(operator, one.workload)
            if ratios is None:
                disturbed += 1
            else:
                picked[one.workload.key] = ratios[distinct.index(configs[1])]
                tried[one.workload.key] = ratios[distinct.index(configs[2])]
    return picked, tried, disturbed


def _ratios(workshop: Workshop, workload: Workload, configs: Sequence[Config]) -> list[float] | None:
    """Time of each configuration over that of the first, from paired turns; `None` where disturbed.

    Raises:
        TunerError: one of them cannot be built or is wrong here: it was right when it was tuned.
    """
    if len(configs) == 1:
        return [1.0]
    kernel = registry.kernel(_KERNEL)
    with contextlib.ExitStack() as builds:
        finalists = []
        companions = companions_of(kernel, workload, workshop.target)
        for number, config in enumerate(configs):
            built = workshop.build(kernel, workload, config, companions)
            builds.callback(built.discard)
            if built.artifact is None:
                raise TunerError(f"{kernel.name} at {workload.key}: {built.error.splitlines()[0]}")
            finalists.append(Finalist(f"c{number}", number, built, baseline=number == 0))
        ranking = run_final(workshop, workload, finalists, _ROUNDS, _BUDGET_S * len(configs))
    if ranking.disturbed:
        return None
    for entry in ranking.entries:
        if entry.error:
            raise TunerError(f"{kernel.name} at {workload.key}: {entry.error.splitlines()[0]}")
    return [entry.turns.over(ranking.entries[0].turns).mid for entry in ranking.entries]


def recorded(files: Sequence[Path], store: "Store") -> list[Figure]:
    """The same on recorded spaces: each problem size of a kernel is served by the rule of its others.

    Where there are fewer than 30 held-out sizes the figure is reported and has no goal.

    Args:
        files: recordings; those of one kernel on one device belong together.
        store: an empty one, which they are read into.
    """
    from tuner.core.recorded import slug
    from tuner.engine.recorded.exchange import import_recorded
    from tuner.interchange import read_recorded

    spaces = [read_recorded(file) for file in files]
    for space in spaces:
        import_recorded(store, space)
    figures: list[Figure] = []
    for kernel, device in dict.fromkeys((space.kernel, space.device) for space in spaces):
        matrix = read_matrix(store, slug(kernel), device=device)
        if len(matrix.shapes) > 1:
            figures += _held_out_of(kernel, device, matrix)
    return figures or [Figure("dispatch, recorded", None, "", note="no kernel was recorded at two sizes")]


def _held_out_of(kernel: str, device: str, matrix: Matrix) -> list[Figure]:
    ratios: list[float] = []
    rule = make_rule(matrix, WITHIN, AT_MOST)
    place: dict[str, int] = {choice.digest: row for row, choice in enumerate(matrix.choices)}
    table: Any = matrix.ratios()
    for column, workload in enumerate(matrix.shapes):
        picked = make_rule(matrix.without(column), WITHIN, AT_MOST).predict(workload)
        ratios.append(float(table[place[picked.choice.digest], column]))
    note = f"replayed: {len(ratios)} recorded sizes on {device}, each left out in turn"
    return _figures(f"dispatch, recorded {kernel}", len(rule.choices), ratios, note, goal=len(ratios) >= 30)
