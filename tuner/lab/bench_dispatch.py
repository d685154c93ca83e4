"""How well one rule serves shapes that nobody tuned: 60 GEMMs, 30 of them tuned, 30 held out.

On the CPU the held-out shapes are tuned too, but only to know their best: what the rule picks for each is
timed beside it in turns. On recorded spaces the times are those of the recording.
"""

import contextlib
import math
import random
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.kernel import Kernel
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
from tuner.export.fill import fill
from tuner.export.local import read_local
from tuner.export.matrix import Matrix, read_matrix
from tuner.export.rule import Rule, make_rule
from tuner.lab.figures import Figure

if TYPE_CHECKING:
    from tuner.core.device import Device
    from tuner.core.protocol import Protocol
    from tuner.store.store import Store

WITHIN, AT_MOST, SHARE = 0.05, 6, 0.9
"""A held-out shape is served well within this share of its own best, by so many configurations at most; so
many shapes have to be."""
_KERNEL = "cpp_packed"
_ROUNDS, _BUDGET_S, _TRIES = 18, 6.0, 2
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


def dispatch(store: "Store", trials: int = 40, count: int = 60) -> list[Figure]:
    """The figures of this machine's CPU. Takes an hour; a second run goes on with what is stored.

    Args:
        store: keeps every trial.
        trials: of each shape's sweep.
        count: of shapes.
    """
    device = campaign.default_device()
    protocol = campaign.default_protocol(device)
    tuned, held_out = shapes(count)
    kernel = registry.kernel(_KERNEL)
    setting = campaign.Setting(
        device, protocol,
        campaign.Plan("auto", 0, Budget(trials=trials), resume=True, reuse=True, rounds=0), store,
    )  # fmt: skip
    for workload in [*tuned, *held_out]:
        kernels, _ = campaign.choose_kernels(workload, device, protocol, [_KERNEL], baselines=False)
        campaign.run_campaign(workload, kernels, setting)
    read = partial(
        read_local, store, "gemm", "f32", shapes=dict.fromkeys(tuned, 1.0), device=device.fingerprint,
        threads=protocol.threads, kernels=[_KERNEL],
    )  # fmt: skip
    fill(read(), device, protocol, store, Observer())
    rule = make_rule(read(), WITHIN, AT_MOST)
    adapt = adapter(device.target_for(protocol.threads))
    pairs: list[tuple[Workload, Config, Config]] = []
    unserved = 0
    for workload in held_out:
        picked = adapt(_KERNEL, workload, rule.predict(workload).choice.config)
        rows = store.best("gemm", workload.key, device.fingerprint, _KERNEL, protocol.threads)
        if picked is not None and rows:
            pairs.append((workload, picked, rows[0].config))
        else:
            unserved += 1
    ratios, disturbed = _side_by_side(kernel, pairs, device, protocol)
    ratios += [math.inf] * unserved
    note = f"{len(ratios)} of {len(held_out)} held-out shapes, {len(tuned)} tuned, {_KERNEL}, {trials} trials"
    note += f"; {disturbed} left out: other programs had the cores" if disturbed else ""
    return _figures("dispatch, gemm f32", rule, ratios, note)


def _figures(what: str, rule: Rule, ratios: Sequence[float], note: str, goal: bool = True) -> list[Figure]:
    """The share served well, the number of configurations, and how far the others are."""
    if not ratios:
        return [Figure(f"{what}: held-out shapes within {WITHIN:.0%}", None, "", SHARE, note=note)]
    good = sum(ratio <= 1 + WITHIN for ratio in ratios) / len(ratios)
    share, most = (SHARE, float(AT_MOST)) if goal else (None, None)
    return [
        Figure(f"{what}: held-out shapes within {WITHIN:.0%} of tuning each", good, "", share, note=note),
        Figure(f"{what}: configurations", len(rule.choices), "", most, True),
        _over_best(f"{what}: median held-out time over its own best", statistics.median(ratios)),
        _over_best(f"{what}: worst held-out time over its own best", max(ratios)),
    ]


def _over_best(name: str, ratio: float) -> Figure:
    """A ratio; infinite where the configuration was dropped as far behind, or none is valid there."""
    if math.isfinite(ratio):
        return Figure(name, ratio, "x")
    return Figure(name, None, "x", note="not served, or so far behind that its time was not taken")


def _side_by_side(
    kernel: Kernel, pairs: Sequence[tuple[Workload, Config, Config]], device: "Device", protocol: "Protocol"
) -> tuple[list[float], int]:
    """Time of the picked configuration over that of the shape's own best, and how many are disturbed."""
    found: list[float] = []
    disturbed = 0
    with Workshop(device, protocol, campaign.fresh_seed()) as workshop:
        workshop.warm([kernel])
        for workload, picked, own in pairs:
            if dict(picked) == dict(own):
                found.append(1.0)
                continue
            operator = registry.operator(workload.operator)
            workshop.prepare(operator, workload)
            ratio = None
            for _ in range(_TRIES):
                ratio = _ratio(workshop, workload, kernel, [picked, own])
                if ratio is not None:
                    break
            workshop.forget(operator, workload)
            if ratio is None:
                disturbed += 1
            else:
                found.append(ratio)
    return found, disturbed


def _ratio(workshop: Workshop, workload: Workload, kernel: Kernel, configs: Sequence[Config]) -> float | None:
    """Time of the first configuration over that of the second, from paired turns; `None` where disturbed.

    Raises:
        TunerError: one of them cannot be built or is wrong here: it was right when it was tuned.
    """
    with contextlib.ExitStack() as builds:
        finalists = []
        companions = companions_of(kernel, workload, workshop.target)
        for number, config in enumerate(configs):
            built = workshop.build(kernel, workload, config, companions)
            builds.callback(built.discard)
            if built.artifact is None:
                raise TunerError(f"{kernel.name} at {workload.key}: {built.error.splitlines()[0]}")
            finalists.append(Finalist(("picked", "own")[number], number, built, baseline=number == 1))
        ranking = run_final(workshop, workload, finalists, _ROUNDS, _BUDGET_S)
    if ranking.disturbed:
        return None
    picked, own = ranking.entries
    if picked.error or own.error:
        raise TunerError(f"{kernel.name} at {workload.key}: {(picked.error or own.error).splitlines()[0]}")
    return picked.turns.over(own.turns).mid


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
    return _figures(f"dispatch, recorded {kernel}", rule, ratios, note, goal=len(ratios) >= 30)
