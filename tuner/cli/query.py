"""`tuner best`: answers from the database; nothing is built or run."""

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.common import Db, Json
from tuner.core.bounds import MAX_COUNT

if TYPE_CHECKING:
    from tuner.store.records import BestRow

_BEST_EXAMPLES = """
Examples:

  tuner best

  tuner best gemm --shape 1024x1024x1024

  tuner best gemm --threads 1 --json
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("best", epilog=_BEST_EXAMPLES)(best)


def best(
    operator: Annotated[str | None, typer.Argument(help="Operator; default all.")] = None,
    shape: Annotated[str | None, typer.Option(help="Only this shape.")] = None,
    dtype: Annotated[str, typer.Option(help="Element type of the shape.")] = "f32",
    kernel: Annotated[str | None, typer.Option(help="Only this kernel.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MAX_COUNT, help="Only this number of CPU threads.")
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Only warm, cold or model caches.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Only this device: a part of its name or fingerprint.")
    ] = None,
    evidence: Annotated[
        str, typer.Option(help="What a time must be worth: measured, replayed, predicted; comma-separated.")
    ] = "measured",
    db: Db = None,
    json: Json = False,
) -> None:
    """The best configuration of each kernel, for each workload and device, fastest first."""
    from tuner import registry
    from tuner.core.errors import TunerError, UnknownName
    from tuner.store.store import open_store

    key = None
    if shape is not None and operator is None:
        raise TunerError("--shape needs the operator: tuner best gemm --shape 64x64x64")
    with open_store(db, read_only=True) as store:
        lacking = operator not in registry.operators()
        if operator is not None and (shape or (lacking and not store.sweeps(operator))):
            # Recordings and kernels of somebody's program are of no operator of the lab.
            known = registry.operator(operator)
            key = known.parse(shape, dtype).key if shape else None
        if kernel is not None and registry.find_kernel(kernel) is None:
            names = {k.kernel.name for k in store.best(operator)} | registry.kernels().keys()
            if kernel not in names:
                raise UnknownName("kernel", kernel, sorted(names))
        asked = [e.strip() for e in evidence.split(",")]
        digests = registry.digests()
        rows = store.best(operator, key, None, kernel, threads, cache, asked, digests)
        left = [e for e in ("measured", "replayed", "predicted") if e not in asked]
        others = [] if rows else store.best(operator, key, None, kernel, threads, cache, left, digests)
    elsewhere = sorted({row.device.name for row in rows})
    if device is not None:
        wanted = device.lower()
        rows = [r for r in rows if wanted in r.device.name.lower() or wanted in r.device.fingerprint]
    if json:
        from tuner.cli.common import print_json
        from tuner.report.records_json import best_json

        print_json([best_json(row) for row in rows])
    elif rows:
        _print_best(rows)
    if not rows:
        only = {"--kernel": kernel, "--threads": threads, "--cache": cache}
        given = "".join(f" {option} {value}" for option, value in only.items() if value is not None)
        what = (f" of {key or operator}" if operator else "") + (f" with{given}" if given else "")
        if device is not None and elsewhere:
            raise TunerError(f"nothing stored{what} of a device {device}; of {', '.join(elsewhere)} there is")
        if others:
            there = ",".join(sorted({row.evidence for row in others}))
            raise TunerError(f"nothing {' or '.join(asked)}{what}; --evidence {there} shows what there is")
        command = _sweep_command(operator, shape, dtype)
        raise TunerError(f"nothing stored{what}; to measure it: {command}{given}")


def _sweep_command(operator: str | None, shape: str | None, dtype: str) -> str:
    """What measures a workload; an example of the operator where none is named."""
    from tuner import registry

    named = operator or "gemm"
    like = shape or (registry.operator(named).example if named in registry.operators() else "...")
    return f"tuner sweep {named} --shape '{like}'" + (f" --dtype {dtype}" if dtype != "f32" else "")


def _print_best(rows: "list[BestRow]") -> None:
    from itertools import groupby

    from tuner import registry
    from tuner.cli.common import age, aligned, config_text, rate, say, seconds, spread, work
    from tuner.core.kernel import less_accurate
    from tuner.report.text import ratio

    digests = registry.digests()
    lines: list[tuple[str, ...]] = []
    titles: dict[int, str] = {}
    stale = False
    fastest: dict[str, None] = {}
    timers: dict[str, None] = {}
    for (key, device, threads, cache), group in groupby(
        rows, lambda r: (r.workload.key, r.device.name, r.threads, r.cache)
    ):
        titles[len(lines)] = f"{key} on {device}, {threads} threads, {cache} cache"
        for place, row in enumerate(group):
            if not place:
                fastest[row.kernel.name] = None
            changed = digests.get(row.kernel.name, row.kernel.digest) != row.kernel.digest
            stale |= changed
            name = row.kernel.name + ("*" if changed else "")
            if row.evidence != "measured":
                name += f" ({row.evidence})"
            if row.timer:
                name += "+"
                timers[row.timer] = None
            # A model's word has no interval of its own.
            known = "-" if row.evidence == "predicted" else spread(row.interval)
            against = f"{ratio(row.speedup)} vs {row.baseline}" if row.speedup and row.baseline else "-"
            lines.append((
                name, seconds(row.shown_s), known, rate(work(row.workload), row.shown_s), against,
                f"t{row.trial_id}", f"s{row.sweep_id}", age(row.measured_at),
                config_text(row.config),
            ))  # fmt: skip
    # A table of a library takes longer to draw 600 rows than the database to find them.
    head = ("kernel", "time", "95%", "GFLOP/s", "speed-up [95%]", "trial", "sweep", "when", "configuration")
    for line in aligned(head, lines, "lrrrlrrrl", titles):
        print(line)
    if stale:
        print("* the kernel's source has changed since it was measured")
    if timers:
        print(f"+ timed by the program it is of, with {', '.join(timers)}, not by the judge")
    for line in less_accurate(map(registry.find_kernel, fastest)):
        say(line)
