"""Kernel Tuner's strategies on the same files, in its own simulation mode, where it is installed."""

import random
import tempfile
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.errors import Unavailable, UnknownName
from tuner.core.measurement import Status
from tuner.core.recorded import RecordedSpace
from tuner.devices.replay import Replay
from tuner.engine._bench_records import Run
from tuner.interchange import write_recorded

PREFIX = "kernel_tuner:"


def strategies() -> list[str]:
    """The names of Kernel Tuner's strategies; empty where it is not installed."""
    from importlib.util import find_spec

    if find_spec("kernel_tuner") is None:
        return []
    from kernel_tuner.interface import strategy_map

    return sorted(strategy_map)


def check_strategy(strategy: str, known: list[str]) -> None:
    """Raises `Unavailable` where nothing is known, `UnknownName` for another strategy."""
    if not known:
        raise Unavailable("kernel_tuner is not installed: pip install kernel_tuner")
    if strategy not in known:
        raise UnknownName("strategy of Kernel Tuner", strategy, known)


def run_peer(recorded: RecordedSpace, name: str, strategy: str, seed: int, trials: int) -> Run:
    """One strategy of Kernel Tuner on one space: its distinct configurations, in its order, are the trials.

    Raises:
        Unavailable: Kernel Tuner is not installed.
        UnknownName: it has no such strategy.
    """
    check_strategy(strategy, strategies())
    configs, note = _configs(recorded, strategy, seed, trials)
    replay = Replay(recorded, "objective")
    fractions: list[float] = []
    seconds: list[float] = []
    failures, best = 0, float("inf")
    for config in configs[:trials]:
        measurement = replay.measure(config)
        failures += measurement.status is not Status.OK
        best = min(best, measurement.time_s or best)
        fractions.append((recorded.optimum_s or 0.0) / best if best < float("inf") else 0.0)
        seconds.append(replay.clock_s)
    if not note and len(configs) < trials:
        note = f"stopped after {len(configs)} of {trials} trials"
    return Run(name, PREFIX + strategy, seed, fractions, seconds, None, failures, note)


def _configs(
    recorded: RecordedSpace, strategy: str, seed: int, trials: int
) -> tuple[list[dict[str, Any]], str]:
    import kernel_tuner

    names = [p.name for p in recorded.parameters]
    listed = {tuple(t.config[n] for n in names) for t in recorded.trials}

    def is_listed(config: dict[str, Any]) -> bool:  # it takes a lambda apart as source text
        return tuple(config[n] for n in names) in listed

    # Its strategies draw from the global generators.
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    parameters = {p.name: list(p.values) for p in recorded.parameters}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        cache = Path(folder) / "cache.json"
        write_recorded(recorded, cache, "kernel-tuner")
        try:
            results, _ = kernel_tuner.tune_kernel(
                recorded.kernel, "", recorded.problem, [], parameters,
                restrictions=is_listed, cache=str(cache),
                simulation_mode=True, strategy=strategy, strategy_options={"max_fevals": trials}, quiet=True,
            )  # fmt: skip
        except Exception as error:  # a peer that breaks is a result of the comparison, not its end
            return [], f"broke: {type(error).__name__}: {error}".splitlines()[0][:200]
    distinct: dict[tuple[Any, ...], dict[str, Any]] = {}
    for result in results:
        distinct.setdefault(tuple(result[n] for n in names), {n: result[n] for n in names})
    return list(distinct.values()), ""
