"""How pictures look: one place for colours, fonts and files; loads matplotlib when something is drawn."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.output_file import put

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design (2008): told apart with any colour vision, and in grey by lightness.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#F0E442", "#000000"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, BLACK)
DASHES = ("-", "--", "-.", ":")
INK, MUTED, GRID = "#1f2328", "#656d76", "#d8dee4"

TUNED, LIBRARY, NAIVE = BLUE, ORANGE, "#9aa4af"

_SETTINGS: Any = {  # matplotlib types the keys one by one
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: searchable, and read aloud by a screen reader
    "svg.hashsalt": "tuner",  # the same picture has the same bytes
}


@contextmanager
def drawing() -> Iterator[None]:
    """The settings of all pictures; needs no display."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches that belongs to no window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def heading(figure: "Figure", title: str, subtitle: str) -> None:
    """A title and a line below it, from the left edge, at a fixed distance from the top."""
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.30 / height, title, fontsize=13, fontweight="bold", va="center")
    figure.text(0.02, 1 - 0.55 / height, subtitle, fontsize=9, color=MUTED, va="center")


def apart(levels: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending levels moved as little as keeps them `gap` apart and within `low` … `high`, for labels.

    Labels that would overlap form a block centred on the mean of their levels; blocks that then overlap
    become one (the pool-adjacent-violators scheme of isotonic regression).
    """
    blocks: list[list[float]] = []  # levels of each
    starts: list[float] = []

    def start_of(block: list[float]) -> float:
        extent = gap * (len(block) - 1)
        centred = sum(block) / len(block) - extent / 2
        return max(low, min(centred, high - extent))

    for level in levels:
        blocks.append([level])
        starts.append(start_of(blocks[-1]))
        while len(blocks) > 1 and starts[-2] + gap * len(blocks[-2]) > starts[-1]:
            last = blocks.pop()
            starts.pop()
            blocks[-1] += last
            starts[-1] = start_of(blocks[-1])
    return [start + gap * i for start, block in zip(starts, blocks, strict=True) for i in range(len(block))]


def save(figure: "Figure", path: Path) -> list[Path]:
    """Writes `path` with the endings .png and .svg; makes its folder.

    Raises:
        TunerError: it cannot be written.
    """
    written = []
    for ending in ("png", "svg"):
        drawn = io.BytesIO()
        # A date in the file would make every run's picture another one.
        metadata = {"Date": None} if ending == "svg" else None
        figure.savefig(drawn, dpi=160, metadata=metadata, format=ending)
        written.append(put(path.with_name(f"{path.name}.{ending}"), drawn.getvalue()))
    return written
