"""`tuner export --best`: the best configurations, in the forms that other programs read."""

from pathlib import Path

METASCHEDULE = "metaschedule"


def best_formats() -> list[str]:
    """The names that `--best --format` takes."""
    from tuner.export.formats.listed import writers

    return [*writers(), METASCHEDULE]


def export_best(
    file: Path, format: str, workload: str | None, kernel: str | None, device: str | None, evidence: str,
    db: str | None,
) -> None:  # fmt: skip
    """Writes them and says what was written."""
    from tuner import registry
    from tuner.cli.common import say
    from tuner.core.errors import TunerError, UnknownName
    from tuner.core.kernel import less_accurate
    from tuner.core.measurement import Evidence
    from tuner.engine.recorded.traces import export_traces
    from tuner.export.best import select
    from tuner.export.formats.listed import writers
    from tuner.store.store import open_store

    if format not in best_formats():
        raise UnknownName("format of --best", format, best_formats())
    if evidence not in set(Evidence):
        raise UnknownName("evidence", evidence, [str(e) for e in Evidence])
    with open_store(db, read_only=True) as store:
        if format == METASCHEDULE:
            if workload is None:
                raise TunerError("a MetaSchedule database is of one program: choose it with --workload")
            count, label = export_traces(store, file, workload, kernel, device, best=True)
            say(f"{count} record of {label} in {file}")
            return
        rows = select(store, None, workload, kernel, device, evidence)
    written = writers()[format](rows, file)
    what = f"{written[0]}" if len(written) == 1 else f"{len(written)} files below {file}"
    note = "" if evidence == "measured" else f", {evidence} times"
    say(f"best of {len(rows)} workloads{note} in {what}")
    for line in less_accurate(registry.find_kernel(best.row.kernel.name) for best in rows):
        say(line)
