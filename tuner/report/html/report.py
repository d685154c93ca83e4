"""The page of a campaign, an experiment, a workload or a sweep, and its figures as files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.core.output_file import put
from tuner.report.html import charts, layers, roofline
from tuner.report.html.configurations import Configuration, configurations
from tuner.report.html.facts import facts
from tuner.report.html.failures import Failure, failures
from tuner.report.html.found import Found, doubts, found, tuning_gave
from tuner.report.html.parameters import Parameters, parameters
from tuner.report.html.section import Section, Swept
from tuner.report.html.shell import page
from tuner.report.html.subject import Subject, subject
from tuner.report.html.trial_table import trial_table
from tuner.report.html.vega import Chart, write

if TYPE_CHECKING:
    from tuner.store.store import Store

_FITTED = 12
"""Kernels of a page whose parameters are looked at where it has several workloads: trees take their time."""


@dataclass(frozen=True)
class Shown:
    """A section with all that its part of the page holds."""

    anchor: str
    section: Section
    found: Found
    comparison: Chart | None
    curves: Sequence[Chart]
    roofline: Chart | None
    parameters: Sequence[tuple[str, Parameters]]
    left_out: int
    notes: Sequence[str]
    failures: Sequence[Failure]
    configurations: Sequence[Configuration]

    @property
    def charts(self) -> Iterator[Chart]:
        """All of them, in the order of the page."""
        for each in (self.comparison, *self.curves, self.roofline):
            if each is not None:
                yield each
        for _, of in self.parameters:
            yield from of.charts


def report(
    what: str | None, store: "Store", html: Path | None, figures: Path | None = None, database: str = ""
) -> list[Path]:
    """Writes a report; the files written, the page first.

    Args:
        what: see `subject`.
        store: that holds it; only read.
        html: the page; `None` for none.
        figures: folder for PNG and SVG of each chart; `None` for none.
        database: how commands on the page name the database; empty for the default one.

    Raises:
        TunerError: there is no such thing, or a file cannot be written.
    """
    about = subject(what, store)
    shown = [*_shown(about, database)]
    written: list[Path] = []
    if html is not None:
        written.append(put(html, render(about, shown)))
    if figures is not None:
        overview = layers.overview(about)
        for chart in (overview.along, overview.chart):
            written += write(chart, figures) if chart is not None else []
        for i, each in enumerate(shown):
            prefix = f"{i + 1}_" if len(shown) > 1 else ""
            for chart in each.charts:
                written += write(Chart(f"{prefix}{chart.name}", chart.spec), figures)
    return written


def render(about: Subject, shown: Sequence[Shown]) -> str:
    """The page of a subject."""
    first = about.sections[0].context if about.sections else None
    return page(
        "report.html",
        about.title,
        subtitle=first.subtitle if first is not None and len(shown) == 1 else _subtitle(about),
        charts=True,
        about=about,
        shown=shown,
        overview=layers.overview(about) if sum(each.section.measured for each in shown) > 1 else None,
        trials=trial_table(about.sections),
        facts=facts(about),
    )


def _subtitle(about: Subject) -> str:
    devices = dict.fromkeys(section.context.device for section in about.sections)
    names = ", ".join(devices or dict.fromkeys(c.spec.device.name for c in about.campaigns))
    workloads = len({section.context.workload for section in about.sections})
    parts = [f"{workloads} workload{'s' if workloads != 1 else ''}", names]
    # What all of them were measured with, where they were alike.
    how = [section.context.how.split(", ") for section in about.sections if section.measured]
    alike = [words for words in how[0] if all(words in other for other in how)] if how else []
    return " · ".join([*parts, ", ".join(alike)] if alike else parts)


def _shown(about: Subject, database: str) -> Iterator[Shown]:
    left = None if len(about.sections) == 1 else _FITTED
    for i, section in enumerate(about.sections):
        rows, context = section.comparison.rows, section.context
        tuned = _tuned(section)
        chosen = tuned if left is None else tuned[: max(0, min(1 + left // 4, left))]
        left = None if left is None else left - len(chosen)
        answered = {*tuning_gave(section), *doubts(section)}
        yield Shown(
            anchor=f"w{i + 1}",
            section=section,
            found=found(section),
            # Rates of an unknown number of operations are none.
            comparison=charts.comparison(rows, context) if rows and context.flops else None,
            curves=_searches(section),
            roofline=roofline.roofline(rows, context) if section.measured else None,
            parameters=[(kernel.name, parameters(kernel.name, kernel.lines)) for kernel in chosen],
            left_out=len(tuned) - len(chosen),
            notes=[note for note in section.comparison.notes if note not in answered],
            failures=failures(section.kernels),
            configurations=configurations(section, database),
        )


def _searches(section: Section) -> list[Chart]:
    """How the searches went: by trials and, where trials took any time, by seconds."""
    comparison, context = section.comparison, section.context
    if not context.flops:
        return []
    drawn = charts.best_so_far(comparison.curves, context, comparison.references)
    return drawn[:1] if section.evidence == "replayed" else drawn


def _tuned(section: Section) -> list[Swept]:
    """The kernels that have parameters, as the comparison orders them; those that are not in it last."""
    rows = sorted(section.comparison.rows, key=lambda row: row.interval.mid)
    place = {row.implementation: i for i, row in enumerate(rows)}
    tuned = [kernel for kernel in section.kernels if kernel.trials > 1]
    return sorted(tuned, key=lambda kernel: place.get(kernel.name, len(rows)))
