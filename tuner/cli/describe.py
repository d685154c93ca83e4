"""`tuner kernels` and `tuner devices`: what there is, here."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tuner.cli.common import Db, Json
from tuner.core.bounds import MAX_COUNT

_KERNELS_EXAMPLES = """
Examples:

  tuner kernels

  tuner kernels gemm --shape 512x512x512

  tuner kernels --searchers
"""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("kernels", epilog=_KERNELS_EXAMPLES)(kernels)
    app.command(
        "devices", epilog="\nExamples:\n\n  tuner devices\n\n  tuner devices --measure --threads 1\n"
    )(devices)


def kernels(
    operator: Annotated[str | None, typer.Argument(help="Operator; default all.")] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="Count valid configurations for this shape; default: an example."),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Element type. Default: f32, or an operator's first.", show_default=False),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MAX_COUNT, help="CPU threads; default all cores.")
    ] = None,
    searchers: Annotated[
        bool, typer.Option("--searchers", help="List the search strategies instead.")
    ] = False,
    json: Json = False,
) -> None:
    """The kernels, their parameters and how many configurations are valid; what cannot be used, and why."""
    from tuner import registry
    from tuner.core.errors import UnknownName

    if searchers:
        _searchers(json)
        return
    chosen = [registry.operator(name) for name in ([operator] if operator else registry.operators())]
    having = [op for op in chosen if dtype in (None, *op.dtypes)]
    if dtype is not None and not having:
        of = f"dtype of {operator}" if operator else "dtype"
        raise UnknownName(of, dtype, sorted({known for op in chosen for known in op.dtypes}))
    listed = []
    for op in having:
        usual = "f32" if "f32" in op.dtypes else op.dtypes[0]
        workload = op.parse(shape or op.example, dtype or usual)
        listed += [_describe(kernel, workload, threads) for kernel in registry.kernels_of(op.name)]
    registry.builders(), registry.device_classes(), registry.searchers()
    if json:
        from tuner.cli.common import print_json

        print_json({"kernels": listed, "broken": registry.broken})
        return
    origin = "as asked" if shape else "an example; --shape counts for another"
    _print_kernels(listed, registry.broken, origin)


def _describe(kernel: Any, workload: Any, threads: int | None) -> dict[str, Any]:
    from tuner import registry
    from tuner.core.errors import TunerError
    from tuner.engine.tuning import campaign

    row: dict[str, Any] = {
        "kernel": kernel.name, "operator": kernel.operator, "language": kernel.language,
        "target": ", ".join(kernel.target_kinds), "dtypes": list(kernel.dtypes), "baseline": kernel.baseline,
        "summary": kernel.summary, "workload": workload.key, "parameters": {}, "let": {}, "constraints": {},
        "valid": None, "here": False, "unavailable": kernel.unavailable(),
    }  # fmt: skip
    if row["unavailable"] is None:
        row["unavailable"] = registry.no_builder(kernel, kernel.target_kinds[0])
    try:
        device = campaign.default_device()
        target = device.target_for(campaign.default_protocol(device, threads=threads).threads)
        row["here"] = target.kind in kernel.target_kinds
        if not row["here"]:
            return row
        reason = kernel.unsupported(workload, target)
        if reason:
            row["unavailable"] = row["unavailable"] or reason
            return row
        space = kernel.space(workload, target)
        row["parameters"] = {p.name: list(p.values) for p in space.parameters}
        row["let"] = {name: e.text for name, e in space.definitions.written.items()}
        row["constraints"] = {c.name: c.expression for c in space.constraints}
        row["valid"] = space.size
    except TunerError as error:
        row["unavailable"] = row["unavailable"] or str(error)
    except Exception as error:  # a plug-in's own mistake must not hide the other kernels
        row["unavailable"] = row["unavailable"] or f"{type(error).__name__}: {error}".splitlines()[0]
    return row


def _print_kernels(listed: list[dict[str, Any]], broken: dict[str, str], origin: str) -> None:
    """A table an operator; names are never cut, so that they can be copied from a narrow terminal too.

    What a kernel is stands on a line below it, and each reason why kernels cannot be used once below the
    table: a column of either is a few letters wide in a terminal of 80.

    Args:
        listed, broken: the kernels, and what cannot be loaded.
        origin: why configurations are counted for this shape.
    """
    from textwrap import wrap

    from tuner.cli.common import aligned, console

    out = console()
    for operator in dict.fromkeys(row["operator"] for row in listed):
        shape = next(row["workload"] for row in listed if row["operator"] == operator)
        heading = f"{operator}: valid configurations of {shape} on this machine ({origin})"
        out.print(heading, markup=False, style="bold")
        here = [row for row in listed if row["operator"] == operator]
        names = ["kernel", "language", "valid", "dtypes"]
        head, *lines = aligned(names, [_cells(row) for row in here], "llrl", {})
        out.print(head, markup=False, style="bold", soft_wrap=True)
        reasons: dict[str, list[str]] = {}
        for row, line in zip(here, lines, strict=True):
            out.print(line, markup=False, soft_wrap=True)
            for part in wrap(row["summary"], min(out.width, 116) - 4, break_on_hyphens=False):
                out.print(f"    {part}", markup=False, style="dim", soft_wrap=True)
            if row["unavailable"]:
                reasons.setdefault(row["unavailable"], []).append(row["kernel"])
        for reason, kernels in reasons.items():
            out.print(f"not here: {', '.join(kernels)}: {reason}", markup=False, soft_wrap=True)
        out.print("")
    for file, reason in broken.items():
        out.print(f"cannot be loaded: {file}: {reason}", markup=False, soft_wrap=True)


def _cells(row: dict[str, Any]) -> list[str]:
    """The texts of one kernel: its name, language and target, number of valid configurations, dtypes."""
    language = "library" if row["baseline"] else row["language"]
    where = "" if row["here"] else f" ({row['target']})"
    valid = f"{row['valid']:,}" if row["valid"] is not None else "-"
    return [row["kernel"], language + where, valid, " ".join(row["dtypes"])]


def _searchers(json: bool) -> None:
    from tuner import registry
    from tuner.cli.common import console, print_json

    rows = {
        name: {"summary": s.summary, "unavailable": s.unavailable()}
        for name, s in registry.searchers().items()
    }
    if json:
        print_json(rows)
        return
    out = console()
    for name, row in sorted(rows.items()):
        reason = f" [not here: {row['unavailable']}]" if row["unavailable"] else ""
        out.print(f"{name:>12}  {row['summary']}{reason}", markup=False)


def devices(
    measure: Annotated[bool, typer.Option("--measure", help="Measure the peaks again.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="CPU threads the peaks are for; default all cores."),
    ] = None,
    db: Db = None,
    json: Json = False,
) -> None:
    """The devices of this machine with their measured peaks, and the others the database knows."""
    from tuner import registry
    from tuner.cli.common import console, print_json
    from tuner.core.measurement import Evidence
    from tuner.engine.candidate.workshop import Workshop
    from tuner.engine.tuning import campaign, peaks
    from tuner.report.records_json import device_json
    from tuner.store.records import DeviceInfo
    from tuner.store.store import open_store

    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    notes: list[str] = []
    with open_store(db) as store:
        for name, kind in registry.device_classes().items():
            found = kind.discover()
            if not found:
                missing[name] = kind.unavailable() or "none found"
            for device in found:
                measured: Mapping[str, float] = {}
                if kind.evidence is Evidence.MEASURED:
                    protocol = campaign.default_protocol(device, threads=threads)
                    notes += device.remarks(protocol.threads)
                    with Workshop(device, protocol, seed=0) as workshop:
                        measured = peaks.known_limits(workshop, store)
                        if measure or "peak_flops_f32" not in measured:
                            measured = dict(peaks.measure_limits(workshop, store, None, notes.append).limits)
                rows.append(device_json(DeviceInfo.of(device, measured), True))
        here = {row["fingerprint"] for row in rows}
        rows += [device_json(d, False) for d in store.devices() if d.fingerprint not in here]
    if json:
        needs = {name: dict(registry.device_classes()[name].needs()) for name in missing}
        print_json({"devices": rows, "missing": missing, "needs": needs, "notes": notes})
        return
    out = console()
    for row in rows:
        out.print(
            f"{row['device']}: {row['name']} ({row['target']})"
            + ("" if row["here"] else "  [not this machine]"),
            markup=False,
        )
        for fact, value in row["facts"].items():
            if value == []:
                continue
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            out.print(f"{fact:>28}  {_human(fact, text)}", markup=False)
        for limit, value in row["measured"].items():
            out.print(f"{limit:>28}  {_rate(limit, value)} (measured)", markup=False)
    for note in notes:
        out.print(note, markup=False)
    for name, reason in missing.items():
        out.print(f"{name}: not here: {reason}", markup=False)
        for what, how in registry.device_classes()[name].needs():
            out.print(f"  {what}: {'here' if how is None else f'missing: {how}'}", markup=False)


def _human(fact: str, text: str) -> str:
    if fact.endswith("_bytes") and text.isdigit():
        size = float(text)
        for unit in ("B", "KiB", "MiB", "GiB"):
            if size < 1024 or unit == "GiB":
                return f"{size:g} {unit}" if size == int(size) else f"{size:.1f} {unit}"
            size /= 1024
    return text


def _rate(limit: str, value: float) -> str:
    if "flops" in limit:
        return f"{value / 1e9:.1f} GFLOP/s"
    if "bytes_per_s" in limit:
        return f"{value / 1e9:.1f} GB/s"
    return f"{value:g}"
