"""Rows for the sortable table of `static/table.js`, column by column, so that recurring texts stand once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuner.report.text import safe

Kind = Literal["text", "number", "count", "time", "bytes", "share", "date", "quantity"]
_MOST_CHOICES = 24


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: identifies it.
        label: its heading.
        kind: how a value is shown: `time` is seconds, `share` of one, `date` an ISO text, `quantity` in
            `unit`.
        facet: offer its values as a choice above the table, where they are few.
        wide: long texts that may wrap.
        href: a value's cell links to this text followed by the value.
        words: what it means; shown on hovering over the heading.
        unsorted: rows cannot be sorted by it.
        unit: of a `quantity`, shown with a decimal prefix.
        prefix: stands before each value: `t` of a trial's number.
    """

    name: str
    label: str
    kind: Kind = "text"
    facet: bool = False
    wide: bool = False
    href: str = ""
    words: str = ""
    unsorted: bool = False
    unit: str = ""
    prefix: str = ""


def head(column: Column, choices: Sequence[Any] = ()) -> dict[str, Any]:
    """A column as `table.js` takes it; `choices` are the values that its filter offers."""
    made: dict[str, Any] = {"name": column.name, "label": column.label, "kind": column.kind}
    if column.facet and 1 < len(choices) <= _MOST_CHOICES:
        made["facet"] = [str(choice) for choice in choices]
    further = ("wide", "href", "words", "unsorted", "unit", "prefix")
    made |= {key: value for key in further if (value := getattr(column, key))}
    return made


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]], label: str = "rows", sort: str = "",
    descending: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """A table for the macro `rows` of `parts.html`.

    Args:
        columns: in their order.
        rows: a value a column each; `None` for what is missing.
        label: what the rows are, for the filter's field.
        sort, descending: the column that they are sorted by at first; as given without.
    """
    data, heads = [], []
    for i, column in enumerate(columns):
        values = [row[i] for row in rows]
        if column.kind == "text":
            values = [None if value is None else safe(str(value)) for value in values]
        heads.append(head(column, _distinct(values) if column.facet else ()))
        data.append(_packed(values) if column.kind == "text" else [_brief(value) for value in values])
    options = {"label": label} | ({"sort": sort, "descending": descending} if sort else {})
    return {"columns": heads, "data": data, "options": options}


def _distinct(values: Sequence[Any]) -> list[Any]:
    return sorted({value for value in values if value is not None})


def _packed(values: Sequence[str | None]) -> Any:
    places = {value: i for i, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
    if len(places) * 2 > len(values):
        return list(values)
    codes = [-1 if value is None else places[value] for value in values]
    return {"dictionary": list(places), "codes": codes}


def _brief(value: Any) -> Any:
    # Six digits say more than the table shows, and seventeen are half of a page's size.
    return float(f"{value:.6g}") if isinstance(value, float) else value
