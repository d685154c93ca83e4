"""Kernel Tuner's strategies on the same files, in its own simulation mode, where it is installed."""

import random
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.errors import Unavailable, UnknownName
from tuner.core.recorded import RecordedSpace
from tuner.devices.replay import Replay
from tuner.engine.recorded.bench_records import Run
from tuner.interchange import FORMATS

PREFIX = "kernel_tuner:"
# A strategy that ends before its trials are spent begins again, so often at most.
_RESTARTS = 50


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
        failures += measurement.time_s is None
        best = min(best, measurement.time_s or best)
        fractions.append((recorded.optimum_s or 0.0) / best if best < float("inf") else 0.0)
        seconds.append(replay.clock_s)
    return Run(name, PREFIX + strategy, seed, fractions, seconds, None, failures, note)


def _configs(
    recorded: RecordedSpace, strategy: str, seed: int, trials: int
) -> tuple[list[dict[str, Any]], str]:
    """Distinct configurations in the order a strategy tried them, and what a reader should know.

    A strategy that stops early is started again with what is left of the random stream; what it tries
    twice costs nothing, as with Kernel Tuner's own cache file.
    """
    # Its strategies draw from the global generators.
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    note = ""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        cache = Path(folder) / "cache.json"
        cache.write_text(_cache_text(recorded))
        tune = _tuning(recorded, strategy, trials, cache)
        for start in range(_RESTARTS + 1):
            before = len(found)
            try:
                for config in tune():
                    found.setdefault(tuple(config.values()), config)
            except Exception as error:  # a peer that breaks is a result of the comparison, not its end
                note = f"broke after {before} trials: {type(error).__name__}: {error}".splitlines()[0][:200]
                break
            if len(found) >= trials:
                note = f"ended early, started {start + 1} times" if start else ""
                break
            if len(found) == before:
                note = f"stopped after {before} of {trials} trials, whatever it was started from"
                break
        else:
            note = f"stopped after {len(found)} of {trials} trials, started {_RESTARTS + 1} times"
    return list(found.values()), note


_texts: dict[int, tuple[RecordedSpace, str]] = {}


def _cache_text(recorded: RecordedSpace) -> str:
    """The space as a Kernel Tuner cache; the last one is kept, as a bench runs many seeds of each."""
    if id(recorded) not in _texts:
        _texts.clear()
        _texts[id(recorded)] = recorded, FORMATS["kernel-tuner"](recorded)
    return _texts[id(recorded)][1]


def _tuning(
    recorded: RecordedSpace, strategy: str, trials: int, cache: Path
) -> Callable[[], list[dict[str, Any]]]:
    """One start of a strategy in simulation mode: the configurations it tried, in order."""
    import kernel_tuner

    names = [p.name for p in recorded.parameters]
    listed = {tuple(t.config[n] for n in names) for t in recorded.trials}

    def is_listed(config: dict[str, Any]) -> bool:  # it takes a lambda apart as source text
        return tuple(config[n] for n in names) in listed

    def tune() -> list[dict[str, Any]]:
        results, _ = kernel_tuner.tune_kernel(
            recorded.kernel, "", recorded.problem, [], {p.name: list(p.values) for p in recorded.parameters},
            restrictions=is_listed, cache=str(cache), simulation_mode=True, strategy=strategy,
            strategy_options={"max_fevals": trials}, quiet=True,
        )  # fmt: skip
        return [{n: result[n] for n in names} for result in results]

    return tune
