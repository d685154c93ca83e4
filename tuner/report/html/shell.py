"""A template rendered into a page: style and scripts inlined once, and a policy that lets nothing else in.

A name in a database may be hostile. Three things keep it text: Jinja2 escapes whatever a template prints,
data for scripts stands in blocks that cannot end early (`json_block`), and the page's Content-Security-Policy
lets only the scripts run whose digests it lists, and nothing be loaded from anywhere.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.report import text, units

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_HERE = Path(__file__).parent
_CHARTS = ("vega.js", "chart.js")


@cache
def asset(name: str) -> str:
    """The text of a style sheet or script by its name: what a page inlines and a server sends.

    `page.css`, `page.js`, `table.js`, `chart.js`, and `vega.js`: Vega-Lite with what it needs, as
    vl-convert packs it: 0.9 MB, which takes two seconds.
    """
    if name == "vega.js":
        import vl_convert

        packed = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;")
        # It declares its parts at the top: in a function they are nobody else's.
        return f"(()=>{{{packed}}})();".replace("</script", "<\\/script")
    return (_HERE / "static" / name).read_text(encoding="utf-8")


@cache
def environment() -> "Environment":
    """The templates, with escaping always on, and the filters that say numbers with their units."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "json": json_block,
        "seconds": text.seconds,
        "spread": text.spread,
        "ratio": text.ratio,
        "percent": text.percent,
        "significant": text.significant,
        "quantity": units.quantity,
        "bytes": units.byte_size,
        "count": units.count,
        "moment": moment,
    }
    return made


def page(template: str, title: str, *, charts: bool = False, **values: Any) -> str:
    """One HTML page, a file of its own: style and scripts are in it.

    Args:
        template: a file in `templates/`; it extends `base.html`.
        title: of the page.
        charts: whether it has any; only then Vega is in it.
        values: for the template; `subtitle` stands below the title, `extra_style` is CSS of this page alone.
    """
    scripts = [(name, asset(name)) for name in script_names(charts)]
    return (
        environment()
        .get_template(template)
        .render(
            title=title,
            policy=policy([body for _, body in scripts], charts, served=False),
            style=markup(asset("page.css")),
            scripts=[(name, markup(body)) for name, body in scripts],
            static=None,
            **{"subtitle": "", "extra_style": "", "made_at": moment(datetime.now(UTC)), **values},
        )
    )


def script_names(charts: bool) -> tuple[str, ...]:
    """The scripts that a page of the shell loads, by their names, in order; see `asset`."""
    return ("page.js", "table.js", *(_CHARTS if charts else ()))


def policy(scripts: Sequence[str], charts: bool, served: bool) -> str:
    """The Content-Security-Policy of a page.

    Args:
        scripts: that it holds, each allowed by its digest; those of a served page are its server's.
        charts: Vega compiles the expressions of its charts, for which `unsafe-eval` stands; what it compiles
            are the lab's own specifications, in which stored names are data only.
        served: by a server, which its scripts may ask for data.
    """
    sources = ["'self'"] if served else [f"'sha256-{_digest(body)}'" for body in scripts]
    if charts:
        sources.append("'unsafe-eval'")
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(sources),
        "style-src": "'unsafe-inline'" + (" 'self'" if served else ""),  # Vega's marks have style attributes
        "connect-src": "'self'" if served else "'none'",
        "base-uri": "'none'",
        "form-action": "'self'" if served else "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def json_block(value: Any) -> "Markup":
    """Compact JSON for a `<script type="application/json">`: no text in it can end the block.

    Raises:
        ValueError: a number in it is not finite.
    """
    made = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)
    for char in "<>&\u2028\u2029":
        made = made.replace(char, f"\\u{ord(char):04x}")
    return markup(made.encode("utf-8", "backslashreplace").decode())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if hasattr(value, "item") else str(value)


def markup(html: str) -> "Markup":
    """HTML of the lab's own that templates print as it is."""
    from markupsafe import Markup

    return Markup(html)


def moment(when: datetime | None) -> str:
    """A date for people, UTC: `26 November 2026, 07:10 UTC`; `-` for none."""
    if when is None:
        return "-"
    return f"{when.day} {when:%B %Y, %H:%M} UTC"
