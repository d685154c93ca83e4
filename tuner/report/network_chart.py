"""The speed-ups of a model's layers as a picture: a dot and its interval a layer."""

from collections.abc import Sequence
from pathlib import Path

from tuner.report.network import LayerRow, summaries, summary_line
from tuner.report.style import INK, SERIES, drawing, heading, new_figure, save

_WIDTH, _ROW, _TOP, _BOTTOM = 11.0, 0.17, 1.0, 0.65  # inches


def network_chart(title: str, rows: Sequence[LayerRow], path: Path) -> list[Path]:
    """Draws the speed-up of each layer over its fastest library, sorted within its model.

    Args:
        title: of the picture.
        rows: layers; those without a speed-up are not drawn.
        path: without an ending.

    Returns:
        The files written: PNG and SVG.

    Raises:
        TunerError: they cannot be written.
        ValueError: no layer has a speed-up.
    """
    shown = [row for row in rows if row.speedup is not None]
    if not shown:
        raise ValueError("a chart needs at least one speed-up")
    models = list(dict.fromkeys(row.model for row in shown))
    shown.sort(key=lambda r: (models.index(r.model), -(r.speedup.mid if r.speedup else 0.0)))
    first = shown[0].context
    means = [s for s in summaries(shown) if s.mean is not None]
    with drawing():
        top = _TOP + 0.2 * len(means)
        height = top + _ROW * len(shown) + _BOTTOM
        figure = new_figure(_WIDTH, height)
        heading(figure, title, f"{first.device} · {first.threads} threads · {first.when:%Y-%m-%d}")
        for i, mean in enumerate(means):
            figure.text(0.02, 1 - (0.82 + 0.2 * i) / height, summary_line(mean), fontsize=8.5, va="center")
        axes = figure.add_axes((0.36, _BOTTOM / height, 0.61, _ROW * len(shown) / height))
        for place, row in enumerate(shown):
            speedup = row.speedup
            assert speedup is not None
            colour = SERIES[models.index(row.model) % len(SERIES)]
            axes.plot([speedup.low, speedup.high], [place, place], color=colour, linewidth=1.6)
            axes.plot([speedup.mid], [place], "o", color=colour, markersize=4)
        axes.axvline(1.0, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
        axes.set_xscale("log")
        ticks = [t for t in (0.25, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0) if _inside(t, axes.get_xlim())]
        axes.set_xticks(ticks, [f"{t:g}x" for t in ticks])
        axes.set_xticks([], minor=True)
        axes.set_yticks(range(len(shown)), [_label(row) for row in shown], fontsize=7)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set_xlabel("speed-up over the fastest library for the layer, with its 95% interval")
        return save(figure, path)


def _inside(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _label(row: LayerRow) -> str:
    return f"{row.model}  {row.context.workload.key.split('/', 2)[2]}"
