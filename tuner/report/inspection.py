"""An inspected candidate as one self-contained HTML page: every stage with syntax colours, foldable."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #1f2328; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.note { color: #59636e; } .bad { color: #b30000; font-weight: 600; }
table { border-collapse: collapse; } td { padding: .15rem 1rem .15rem 0; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
details { border: 1px solid #d1d9e0; border-radius: 6px; margin: .6rem 0; }
summary { padding: .5rem .8rem; cursor: pointer; }
pre { margin: 0; padding: .8rem; overflow: auto; max-height: 70vh; font-size: 12.5px;
  border-top: 1px solid #d1d9e0; }
"""


def _highlight(text: str, language: str) -> tuple[str, str]:
    """HTML of a text, and the style sheet it needs."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    formatter = HtmlFormatter(style="default", nowrap=True)
    # Colouring a megabyte takes half a minute; past this a text is shown plain.
    if len(text) > 200_000:
        return html.escape(text), formatter.get_style_defs("pre")
    return highlight(text, get_lexer_by_name(language), formatter), formatter.get_style_defs("pre")


def _table(values: Mapping[str, Any]) -> str:
    rows = []
    for name, value in values.items():
        shown = f"{value:,.6g}" if isinstance(value, int | float) else html.escape(str(value))
        rows.append(f"<tr><td>{html.escape(name)}</td><td class=n>{shown}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _stages(stages: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    parts, sheet = [], ""
    for stage in stages:
        text = stage["text"]
        if not text:
            parts.append(f"<p class=note>{html.escape(stage['name'])}: no difference</p>")
            continue
        body, sheet = _highlight(text, stage["language"])
        lines = text.count("\n") + 1
        title = f"{html.escape(stage['name'])} <span class=note>({lines:,} lines)</span>"
        parts.append(f"<details><summary>{title}</summary><pre>{body}</pre></details>")
    return "".join(parts), sheet


def inspection_page(
    shown: Mapping[str, Any], other: Mapping[str, Any] | None = None,
    diffs: Sequence[Mapping[str, str]] = (),
) -> str:  # fmt: skip
    """The page of `Inspection.as_dict()`, and of what another configuration changes.

    Args:
        shown: the candidate.
        other: the configuration it is compared with.
        diffs: of the stages, as `{"name", "language", "text"}`.
    """
    config = " ".join(f"{k}={v}" for k, v in shown["config"].items()) or "(no parameters)"
    head = f"{shown['kernel']} · {shown['workload']} · {shown['target']}"
    about = html.escape(f"{config} · {shown['toolchain']}")
    parts = [f"<h1>{html.escape(head)}</h1><p class=note>{about}</p>"]
    if shown["problem"]:
        parts.append(f"<p class=bad>over resources: {html.escape(shown['problem'])}</p>")
    parts.append(f"<h2>Resources</h2>{_table(shown['metrics'])}")
    if shown["roofline"]:
        parts.append(f"<h2>Roofline</h2>{_table(shown['roofline'])}")
    if shown["predicted"]:
        predicted = shown["predicted"]
        plain = {k: v for k, v in predicted.items() if k not in ("evidence", "parts_s")}
        values = {**plain, **{f"{k}_s": v for k, v in predicted["parts_s"].items()}}
        parts.append(f"<h2>Predicted by the analytic model, not measured</h2>{_table(values)}")
    body, sheet = _stages(shown["stages"])
    parts.append(f"<h2>Stages</h2>{body}")
    if other is not None:
        against = " ".join(f"{k}={v}" for k, v in other["config"].items())
        metrics = other["metrics"]
        changed = {
            name: f"{value:g} -> {metrics[name]:g}"
            for name, value in shown["metrics"].items()
            if name in metrics and metrics[name] != value
        }
        body, diff_sheet = _stages(diffs)
        sheet = sheet or diff_sheet
        parts.append(f"<h2>What changes with {html.escape(against)}</h2>{_table(changed)}{body}")
    title = html.escape(head)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}{sheet}</style></head><body>{''.join(parts)}</body></html>\n"
    )
