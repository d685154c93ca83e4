"""Chooses what `schedules/starts.toml` ships: a few configurations that together were good at many shapes.

    python -m tuner.lab.find_starts results.db --operator gemm --kernel cpp_packed --dtype f32

Prints the table of one kernel and element type. From the configurations that were good somewhere, each moved
to every shape, it takes one after the other: the one that brings the best of those taken nearest to each
shape's own best, as a geometric mean. A configuration that was not measured at a shape counts as half as
fast there as the best.
"""

import argparse
import json
import math

import numpy as np

from tuner.core.errors import TunerError
from tuner.export.local import read_local
from tuner.export.matrix import Matrix
from tuner.store.store import open_store

UNKNOWN = 2.0
"""The ratio to a shape's best that is assumed where a configuration was not measured."""
SHARE = 0.1
"""Of the configurations that must have been measured at a shape."""
ENOUGH = 0.005
"""What one more configuration has to bring, as a share of time over all shapes."""


def chosen_rows(ratios: np.ndarray, most: int) -> list[int]:
    """Rows taken greedily, the best first.

    Args:
        ratios: times over the shape's best `[configurations, shapes]`; NaN and infinite where there is none.
        most: how many rows at most.
    """
    logs = np.log(np.where(np.isfinite(ratios), np.minimum(ratios, UNKNOWN), UNKNOWN))
    best = np.full(logs.shape[1], math.log(UNKNOWN))
    rows: list[int] = []
    while len(rows) < most:
        means = np.minimum(logs, best).mean(axis=1)
        row = int(np.argmin(means))
        if best.mean() - means[row] < ENOUGH:
            break
        rows.append(row)
        best = np.minimum(best, logs[row])
    return rows


def table(matrix: Matrix, kernel: str, dtype: str, most: int) -> str:
    """The lines of `starts.toml`, and as a comment how near they come.

    A shape at which hardly any of the configurations was measured tells nothing of them and is left out.
    """
    ratios = matrix.ratios()
    ratios = ratios[:, np.isfinite(ratios).mean(axis=0) >= SHARE]
    if not ratios.size:
        raise TunerError(
            f"{kernel}: at no shape is a tenth of the configurations measured; `tuner dispatch` does"
        )
    rows = chosen_rows(ratios, most)
    reached = np.where(np.isfinite(ratios[rows]), ratios[rows], UNKNOWN).min(axis=0)
    where = f"{ratios.shape[1]} shapes, {matrix.group.device.name}, {matrix.group.threads} threads"
    mean = math.exp(np.log(reached).mean())
    near = f"the best of these took {mean:.2f} of the best known time, {reached.max():.2f} at worst"
    lines = [f"# {where}: {near}.", f"[{kernel}]", f"{dtype} = ["]
    for row in rows:
        config = {name: value for name, value in matrix.choices[row].config.items() if name != "threads"}
        lines.append("  { " + ", ".join(f"{n} = {json.dumps(v)}" for n, v in config.items()) + " },")
    return "\n".join([*lines, "]"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("database")
    parser.add_argument("--operator", required=True)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--most", type=int, default=6)
    asked = parser.parse_args()
    matrix = read_local(open_store(asked.database), asked.operator, asked.dtype, kernels=[asked.kernel])
    print(table(matrix, asked.kernel, asked.dtype, asked.most))


if __name__ == "__main__":
    main()
