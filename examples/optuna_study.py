"""An Optuna study with the lab's sampler: block sizes for transposing a matrix with NumPy.

    python examples/optuna_study.py

What is timed is this program's own function, so nothing is compiled and nothing is stored. The sampler
proposes only configurations that the constraints allow, and none twice.
"""

import time

import numpy as np
import optuna

from tuner import registry
from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.searchers import as_optuna_sampler, suggest_config

N = 768
SPACE = SearchSpace(
    [
        Parameter("rows", (8, 16, 32, 64, 128, 256, 768)),
        Parameter("columns", (8, 16, 32, 64, 128, 256, 768)),
        Parameter("by_columns", (False, True)),
    ],
    [Constraint("small_blocks", "rows * columns <= 65536"), Constraint("few", "rows * columns >= 512")],
)


def transpose(source: np.ndarray, target: np.ndarray, config: Config) -> None:
    """Writes `source` transposed to `target`, block by block."""
    rows, columns = int(config["rows"]), int(config["columns"])
    corners = [(i, j) for i in range(0, N, rows) for j in range(0, N, columns)]
    if config["by_columns"]:
        corners.sort(key=lambda corner: corner[1])
    for i, j in corners:
        target[j : j + columns, i : i + rows] = source[i : i + rows, j : j + columns].T


def objective(trial: optuna.Trial) -> float:
    """Seconds of the fastest of three calls."""
    config = suggest_config(trial, SPACE)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        transpose(SOURCE, TARGET, config)
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    SOURCE, TARGET = np.random.default_rng(0).random((N, N)), np.empty((N, N))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=as_optuna_sampler(registry.searcher("surrogate"), SPACE, budget=24))
    study.optimize(objective, n_trials=24)
    assert np.array_equal(TARGET, SOURCE.T)
    print(f"{len(study.trials)} of {SPACE.size} valid configurations tried")
    print(f"best: {study.best_value * 1e3:.2f} ms with {study.best_params}")
