"""Charts as Vega-Lite specifications, in one style, drawn by the page or into files.

A colour is written `--name`: the page takes it from its style sheet in the theme it has, a file from `paper`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tuner.core.output_file import put

Spec = dict[str, Any]
WIDTH = 760
"""Of a chart in a file, in pixels; on a page a chart is as wide as there is room."""

# Pixels around a chart.
_MARGIN = 2


@dataclass(frozen=True)
class Chart:
    """A chart with the words for people who do not see it.

    Attributes:
        name: identifies it on its page and names its file.
        spec: Vega-Lite, without width and style.
        caption: what stands below it.
        description: what it shows, in a sentence, for a screen reader.
    """

    name: str
    spec: Spec
    caption: str = ""
    description: str = ""

    @property
    def styled(self) -> Spec:
        """The specification with the lab's style, for `static/chart.js`."""
        return styled(self.spec)


def write(chart: Chart, folder: Path) -> list[Path]:
    """Draws a chart in the colours of paper: `NAME.png` and `NAME.svg` in a folder that is made.

    Raises:
        TunerError: a file cannot be written.
    """
    import vl_convert

    spec = _on_paper({**chart.styled, "width": WIDTH, "background": "white"})
    written = []
    for ending in ("png", "svg"):
        # A kernel's name is somebody's text: it names a file in this folder, and nowhere else.
        path = folder / f"{re.sub('[^A-Za-z0-9=_-]+', '_', chart.name)}.{ending}"
        if ending == "png":
            written.append(put(path, vl_convert.vegalite_to_png(spec, vl_version=_version(), scale=2)))
        else:
            written.append(put(path, vl_convert.vegalite_to_svg(spec, vl_version=_version())))
    return written


def number(field: str, **more: Any) -> Spec:
    """A channel of an encoding: a field of numbers."""
    return {"field": field, "type": "quantitative", **more}


def nominal(field: str, **more: Any) -> Spec:
    """A channel of an encoding: a field of names."""
    return {"field": field, "type": "nominal", **more}


def ordinal(field: str, **more: Any) -> Spec:
    """A channel of an encoding: a field of names in an order."""
    return {"field": field, "type": "ordinal", **more}


def tooltip(**titles: str) -> list[Spec]:
    """What is shown on hovering: fields with their titles."""
    return [nominal(field, title=title) for field, title in titles.items()]


def room_after_bars(widest: str) -> Spec:
    """Of a specification whose bars end in a text: margins in which the text of the longest one is whole.

    A share of the axis is too little of a narrow page, where 4.43 ms lost its last letters at 390 pixels.

    Args:
        widest: the longest of the texts.
    """
    return {"padding": {"left": _MARGIN, "top": _MARGIN, "bottom": _MARGIN, "right": 12 + 8 * len(widest)}}


def rows_of(values: Sequence[Mapping[str, Any]]) -> Spec:
    """The data of a chart or a layer."""
    return {"values": list(values)}


def styled(spec: Spec) -> Spec:
    """A specification with axes, legends and texts in the page's colours; its width is for who draws it."""
    axis = {
        "labelColor": "--ink", "titleColor": "--muted", "domainColor": "--line", "tickColor": "--line",
        "gridColor": "--line", "gridOpacity": 0.7, "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "titlePadding": 8,
    }  # fmt: skip
    legend = {
        "labelColor": "--ink", "titleColor": "--muted", "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "labelLimit": 150, "symbolStrokeWidth": 2,
        "columns": 4,
    }  # fmt: skip
    config = {
        "view": {"stroke": None}, "font": "DejaVu Sans, sans-serif", "axis": axis, "legend": legend,
        "text": {"color": "--ink", "fontSize": 12}, "title": {"color": "--ink", "anchor": "start"},
        "range": {"category": [f"--series-{i}" for i in range(7)]},
    }  # fmt: skip
    return {
        "background": "transparent", "padding": _MARGIN, "autosize": {"type": "fit-x", "contains": "padding"},
        **spec, "config": config,
    }  # fmt: skip


@cache
def _version() -> str:
    """The newest Vega-Lite that vl-convert has."""
    import vl_convert

    return str(max(vl_convert.get_vegalite_versions(), key=lambda v: tuple(map(int, v.split(".")))))


@cache
def paper() -> Mapping[str, str]:
    """The colours of the style sheet's light theme, by name."""
    from tuner.report.html.shell import asset

    light = asset("page.css").split("}", 1)[0]
    return dict(re.findall(r"--([a-z0-9-]+):\s*(#[0-9a-f]{6})", light))


def _on_paper(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("--"):
        return paper().get(value[2:], value)
    if isinstance(value, list):
        return [_on_paper(each) for each in value]
    if isinstance(value, dict):
        return {name: each if name == "values" else _on_paper(each) for name, each in value.items()}
    return value
