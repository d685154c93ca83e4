"""An inspected candidate as one HTML page: stages side by side, and what a parameter changes."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.report.html.shell import markup, page
from tuner.report.metric_words import PARTS, grouped, metric
from tuner.report.side_by_side import Line, side_by_side
from tuner.report.text import intensity, safe, seconds, significant
from tuner.report.units import byte_size, quantity

_COLOURED = 200_000  # characters; colouring a megabyte takes half a minute
_ROWS = 4_000  # of a comparison; a kernel that is another one throughout says no more with ten times as many


@dataclass(frozen=True)
class ShownRow:
    """One row of a table of values: in words, with units; `other` and `change` where two are compared."""

    words: str
    name: str
    value: str
    other: str = ""
    change: str = ""

    @property
    def changed(self) -> bool:
        """Whether the two differ."""
        return bool(self.change)


def inspection_page(
    shown: Mapping[str, Any], other: Mapping[str, Any] | None = None,
    diffs: Sequence[Mapping[str, str]] = (),
) -> str:  # fmt: skip
    """The page of `Inspection.as_dict()`, and of what another configuration changes.

    Args:
        shown: the candidate.
        other: the configuration it is compared with.
        diffs: of the stages, as `{"name", "language", "text"}` with unified diffs.
    """
    return page(
        "inspection.html",
        f"{shown['kernel']} for {shown['workload']}",
        subtitle=f"{shown['target']} · {shown['toolchain']}",
        extra_style=markup(_colours()),
        problem=shown["problem"],
        sentences=_sentences(shown, other),
        config=_config(shown["config"], other["config"] if other is not None else None),
        resources=_resources(shown["metrics"], other["metrics"] if other is not None else None),
        parts=_parts(shown["predicted"]),
        stages=[_stage(stage) for stage in shown["stages"]],
        compared=other is not None,
        changes=[_change(diff) for diff in diffs],
    )


def _sentences(shown: Mapping[str, Any], other: Mapping[str, Any] | None) -> list[str]:
    """Work, roofs and the model's word, each in a sentence."""
    flops, least, roofs = shown["flops"], shown["min_bytes"], shown["roofline"]
    told = [
        f"One call is {quantity(flops, 'FLOP')} ({quantity(flops / 2, 'MAC')}) and must move at least "
        f"{byte_size(least)}: {intensity(flops / least)}."
    ]
    if roofs:
        bound = "arithmetic" if roofs["intensity"] >= roofs["ridge"] else "memory"
        fastest = seconds(flops / roofs["attainable_flops"])
        told.append(
            f"The target's roofs meet at {intensity(roofs['ridge'])}, so {bound} bounds it: at most "
            f"{quantity(roofs['attainable_flops'], 'FLOP/s')}, so at least {fastest} a call."
        )
    if shown["predicted"]:
        told.append(f"Predicted by the analytic model, not measured: {_prediction(shown['predicted'])}.")
    if other is not None and shown["predicted"] and other["predicted"]:
        ratio = shown["predicted"]["time_s"] / other["predicted"]["time_s"]
        told.append(
            f"With the other configuration, predicted too: {_prediction(other['predicted'])}, "
            f"{significant(ratio)} times the speed."
        )
    return told


def _prediction(predicted: Mapping[str, Any]) -> str:
    bound = PARTS.get(predicted["bound"], predicted["bound"])
    return f"{seconds(predicted['time_s'])} a call, bound by {bound}"


def _config(config: Mapping[str, Any], other: Mapping[str, Any] | None) -> list[ShownRow]:
    names = [*config, *(name for name in other or {} if name not in config)]
    rows = []
    for name in names:
        one, two = _value(config.get(name, "–")), _value((other or {}).get(name, "–"))
        rows.append(ShownRow(name, "", one, two if other else "", "changed" if other and one != two else ""))
    return rows


def _value(value: Any) -> str:
    text = safe(str(value))
    return text if len(text) <= 400 else f"{text[:400]}…"


def _resources(
    metrics: Mapping[str, float], other: Mapping[str, float] | None
) -> list[tuple[str, list[ShownRow]]]:
    names = [*metrics, *(name for name in other or {} if name not in metrics)]
    return [(group, [_metric(name, metrics, other) for name in own]) for group, own in grouped(names)]


def _metric(name: str, metrics: Mapping[str, float], other: Mapping[str, float] | None) -> ShownRow:
    known, one = metric(name), metrics.get(name)
    value = known.text(one) if one is not None else "–"
    if other is None:
        return ShownRow(known.words, name, value)
    two = other.get(name)
    change = ""
    if one != two:
        change = f"{(two - one) / one:+.1%}" if one and two is not None else "changed"
    return ShownRow(known.words, name, value, known.text(two) if two is not None else "–", change)


def _parts(predicted: Mapping[str, Any] | None) -> list[tuple[str, str, float]]:
    """What the predicted time consists of: words, time, share of the longest in percent."""
    if not predicted or not predicted["parts_s"]:
        return []
    longest = max(predicted["parts_s"].values()) or 1.0
    ordered = sorted(predicted["parts_s"].items(), key=lambda item: -item[1])
    return [
        (PARTS.get(name, name), seconds(value), 100 * value / longest) for name, value in ordered if value > 0
    ]


def _stage(stage: Mapping[str, str]) -> dict[str, Any]:
    text = stage["text"]
    body = _coloured(text, stage["language"]) if len(text) <= _COLOURED else html.escape(text)
    return {"name": stage["name"], "lines": text.count("\n") + 1, "body": markup(body)}


def _change(diff: Mapping[str, str]) -> dict[str, Any]:
    rows: list[Line] = side_by_side(diff["text"])
    changed = sum(row.kind == "changed" for row in rows)
    return {"name": diff["name"], "rows": rows[:_ROWS], "left_out": len(rows[_ROWS:]), "changed": changed}


def _coloured(text: str, language: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    made: str = highlight(text, get_lexer_by_name(language), HtmlFormatter(nowrap=True))
    return made


def _colours() -> str:
    """Style sheets of the syntax colours: of light pages, and of dark ones, by system or by choice."""
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="default").get_style_defs(".code")
    by_system = HtmlFormatter(style="github-dark").get_style_defs(':root:not([data-theme="light"]) .code')
    # What a lexer does not know of an assembler is no error of the kernel's.
    plain = ".code .err { border: 0 !important; color: inherit !important; background: none !important; }"
    by_choice = HtmlFormatter(style="github-dark").get_style_defs(':root[data-theme="dark"] .code')
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {by_system} }}\n{by_choice}\n{plain}\n"
