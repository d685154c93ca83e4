"""Best-so-far curves of searchers as a picture."""

import io
import math
from pathlib import Path

import numpy as np

from tuner.core.errors import TunerError
from tuner.core.output_file import put
from tuner.engine.recorded.bench_records import Bench


def plot(bench: Bench, path: Path) -> None:
    """One panel a space and one of their mean: fraction of the optimum over trials, mean over seeds.

    The band is the middle half of the seeds.

    Raises:
        TunerError: the file cannot be written or its ending is no picture's.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = len(bench.spaces) + (len(bench.spaces) > 1)
    columns = min(3, panels)
    rows = math.ceil(panels / columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4.6 * columns, 3.4 * rows), sharey=True, squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    trials = np.arange(1, bench.trials + 1)
    colours = pyplot.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, searcher in enumerate(bench.searchers):
        colour = colours[i % len(colours)]
        means = []
        for axis, space in zip(flat, bench.spaces, strict=False):
            curves = np.array([[run.at(int(n)) for n in trials] for run in bench.of(searcher, space.name)])
            means.append(curves.mean(axis=0))
            axis.plot(trials, means[-1], color=colour, label=searcher)
            low, high = np.quantile(curves, (0.25, 0.75), axis=0)
            axis.fill_between(trials, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.set_title(space.name, fontsize=9)
        if len(bench.spaces) > 1:
            flat[panels - 1].plot(trials, np.mean(means, axis=0), color=colour, label=searcher)
    if len(bench.spaces) > 1:
        flat[panels - 1].set_title("mean over the spaces", fontsize=9)
    for axis in flat[:panels]:
        axis.set_ylim(0.4, 1.01)
        axis.grid(alpha=0.3)
        axis.set_xlabel("trials")
    for axis in flat[panels:]:
        axis.set_visible(False)
    for row in axes:
        row[0].set_ylabel("optimum's time / best time so far")
    flat[panels - 1].legend(fontsize=7, loc="lower right")
    try:
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=130, format=path.suffix[1:] or None)
    except ValueError as error:
        raise TunerError(f"{path} cannot be written: {error}".splitlines()[0]) from None
    finally:
        pyplot.close(figure)
    put(path, drawn.getvalue())
