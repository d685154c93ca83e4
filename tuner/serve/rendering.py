"""Pages in the shell of the lab's reports, with the server's own templates, scripts and headings."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.report.html import shell
from tuner.report.html.facts import peaks
from tuner.report.metric_words import metric

if TYPE_CHECKING:
    from fastapi.responses import HTMLResponse
    from jinja2 import Environment
    from markupsafe import Markup

ALONE = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The policy of a self-contained page: its scripts run as nobody's, and can ask this server nothing."""

_HERE = Path(__file__).parent
_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_OF_THE_SHELL = ("page.css", "page.js", "table.js", "chart.js", "vega.js")
_OWN = ("serve.css", "remote.js", "live.js")
_PLACES = (
    ("/", "Overview"),
    ("/live", "Live"),
    ("/best", "Best"),
    ("/workloads", "Workloads"),
    ("/sweeps", "Sweeps"),
    ("/trials", "Trials"),
    ("/campaigns", "Campaigns"),
    ("/comparisons", "Comparisons"),
    ("/devices", "Devices"),
    ("/api", "API"),
)


@dataclass(frozen=True)
class Rendered:
    """A page with the headers it is sent with."""

    text: str
    headers: dict[str, str]


@cache
def static(name: str) -> tuple[str, str, str] | None:
    """Text, media type and entity tag of a script or style sheet; `None` where there is none of this name."""
    if name in _OF_THE_SHELL:
        text = shell.asset(name)
    elif name in _OWN:
        text = (_HERE / "static" / name).read_text(encoding="utf-8")
    else:
        return None
    return text, _KINDS[Path(name).suffix], f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


@cache
def _environment() -> "Environment":
    from jinja2 import ChoiceLoader, FileSystemLoader

    base = shell.environment()
    assert base.loader is not None
    made = base.overlay(loader=ChoiceLoader([FileSystemLoader(_HERE / "templates"), base.loader]))
    made.filters = {**base.filters, "measures": measures, "ticks": ticks, "peaks": peaks}
    return made


def ticks(text: str) -> "Markup":
    """A text of the lab's own with what stands in backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def measures(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Metrics of an artifact in words, with their units."""
    return [(metric(name).words, metric(name).text(value)) for name, value in metrics.items()]


def page(
    template: str, title: str, *, charts: bool = False, scripts: Sequence[str] = (), **values: Any
) -> Rendered:
    """One page.

    Args:
        template: of this folder; it extends `served.html`.
        title: its heading.
        charts: whether it has any.
        scripts: of its own, besides those of tables.
        values: for the template; `here` is the place in the navigation that it belongs to.
    """
    names = [*shell.script_names(charts), "remote.js", *scripts]
    policy = shell.policy([], charts, served=True)
    text = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            policy=policy,
            scripts=[(name, "") for name in names],
            static="/static",
            places=_PLACES,
            **{"extra_style": "", "subtitle": "", "made_at": None, "here": "", "q": "", **values},
        )
    )
    # Of frames a header alone can say something.
    return Rendered(text, {"content-security-policy": f"{policy}; frame-ancestors 'none'"})


def html(template: str, title: str, **values: Any) -> "HTMLResponse":
    """A page as a response; see `page`."""
    from fastapi.responses import HTMLResponse

    made = page(template, title, **values)
    return HTMLResponse(made.text, headers=made.headers)
