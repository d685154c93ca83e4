"""`tuner import`, `export`, `bench-searchers`: other tools' files, and searchers compared on them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli._many import ManyValues
from tuner.cli.common import Db, Json
from tuner.core.bounds import MAX_COUNT

if TYPE_CHECKING:
    from tuner.engine.recorded.traces import Imported
    from tuner.store.store import Store

_FORMATS = ("t4", "kernel-tuner", "json", "csv", "parquet", "metaschedule", "optuna")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("import", epilog="\nExamples:\n\n  tuner import gemm_clblast-rtx_3090.json.gz\n")(import_)
    app.command(
        "export",
        epilog="\nExamples:\n\n  tuner export out.t4.json --workload gemm/f32/m64-n64-k64 --kernel cpp_packed"
        "\n\n  tuner export all.csv --format csv"
        "\n\n  tuner export --best --format c-header tuned.h --kernel cpp_packed"
        "\n\n  tuner export --library build/operators bert-base experiments/gemm_demo.toml"
        "\n\n  tuner export studies.db --format optuna"
        "\n\n  tuner export my_database --format metaschedule --workload gemm/f32/m64-n64-k64\n",
    )(export)
    app.command(
        "bench-searchers",
        cls=ManyValues,
        epilog="\nExamples:\n\n  tuner bench-searchers --spaces replay/*.json.gz "
        "--searchers random,surrogate --seeds 5 --trials 100 --json runs.json\n",
    )(bench_searchers)


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Kernel Tuner caches and results, FAIR T4 files (KTT's too), KTT's JSON results or exported "
            "bests, plain or .gz; folders of MetaSchedule's databases. Of one that is still being written, "
            "what is whole."
        ),
    ],
    kernel: Annotated[str | None, typer.Option(help="Kernel name where the file has none (T4).")] = None,
    device: Annotated[str | None, typer.Option(help="Device name where the file has none (T4).")] = None,
    workload: Annotated[
        str | None,
        typer.Option(help="What a MetaSchedule program computes, e.g. gemm/f32/m64-n64-k64/alpha=0.5."),
    ] = None,
    db: Db = None,
    json: Json = False,
) -> None:
    """Read other tools' recordings into the store, as replayed trials of a device of their own."""
    from tuner.cli.common import print_json, say
    from tuner.core.workload import Workload
    from tuner.engine.recorded.exchange import import_recorded
    from tuner.engine.recorded.traces import import_traces
    from tuner.interchange import read_spaces
    from tuner.interchange.metaschedule import is_database, read_database
    from tuner.interchange.trials import workload_of
    from tuner.store.store import open_store

    # All files are read before anything is written: a bad one changes nothing.
    notes: dict[Path, list[str]] = {file: [] for file in files}
    databases = {file: read_database(file, notes[file].append) for file in files if is_database(file)}
    files = [file for file in files if file not in databases]
    computed = Workload.from_key(workload) if workload is not None else None
    recorded = [(file, space) for file in files for space in read_spaces(file, kernel, device)]
    for file, space in recorded:
        notes[file] += space.notes
    for file, texts in notes.items():
        for text in texts:
            print(f"warning: {file}: {text}", file=sys.stderr)
    report: list[dict[str, Any]] = []
    with open_store(db) as store:
        for file, records in databases.items():
            for found in import_traces(store, records, computed):
                report.append({"file": str(file), "workload": found.workload.key, "kernel": found.kernel,
                               "sweep": found.sweep, "added": found.added, "known": found.known,
                               "notes": notes[file]})  # fmt: skip
                if not json:
                    say(f"{file.name}: {_traces_line(found)}")
        for file, space in recorded:
            sweep, added, known = import_recorded(store, space)
            row = {"file": str(file), "workload": workload_of(space).key, "device": space.device,
                   "sweep": sweep, "added": added, "known": known, "notes": notes[file]}  # fmt: skip
            report.append(row)
            if not json:
                kept = f", {known} were there already" if known else ""
                say(f"{file.name}: {added} replayed trials of {space.label} in sweep s{sweep}{kept}")
    if json:
        print_json(report)


def _traces_line(found: "Imported") -> str:
    kept = f", {found.known} were there already" if found.known else ""
    of = f"as configurations of {found.kernel}" if found.kernel else "of a program that is none of the lab's"
    where = f" in sweep s{found.sweep}" if found.sweep else ""
    return f"{found.added} replayed trials of {found.workload.key} {of}{where}{kept}"


def export(
    what: Annotated[
        list[str],
        typer.Argument(
            help="File to write; .gz for t4 and kernel-tuner; a folder for metaschedule. With --library: "
            "what goes in, an experiment's .toml, models, workload keys or operators."
        ),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            help="t4 (default), kernel-tuner, metaschedule, optuna, json, csv or parquet. With --best: json "
            "(default), c-header, triton-config, kernel-tuner, t4, vllm-moe, vllm-block-fp8, sglang-moe, "
            "sglang-block-fp8, metaschedule.",
            show_default=False,
        ),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Only the best configuration of each workload and device.")
    ] = False,
    workload: Annotated[str | None, typer.Option(help="Workload key, e.g. gemm/f32/m64-n64-k64.")] = None,
    kernel: Annotated[str | None, typer.Option(help="Kernel (t4, kernel-tuner, optuna).")] = None,
    device: Annotated[
        str | None, typer.Option(help="A part of the device's name (t4, kernel-tuner, optuna).")
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Write tuned kernels into this folder, as a shared library.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the --library.")] = "operators",
    evidence: Annotated[str, typer.Option(help="What a time of --best has to be worth.")] = "measured",
    db: Db = None,
) -> None:
    """Write stored trials as other tools' files, or tuned kernels as a shared library for C and C++."""
    from tuner.cli.common import say
    from tuner.core.errors import TunerError, UnknownName
    from tuner.engine.recorded.exchange import recorded_from_store, stored_trials
    from tuner.engine.recorded.traces import export_traces
    from tuner.interchange import write_recorded
    from tuner.interchange.tables import write_table
    from tuner.store.store import open_store

    if library is not None:
        from tuner.cli.export_library import export_library

        export_library(library, what, name, db)
        return
    if len(what) != 1:
        raise TunerError(f"one file is written at a time, not {len(what)}; several names are for --library")
    file = Path(what[0])
    if best:
        from tuner.cli.export_best import export_best

        export_best(file, format or "json", workload, kernel, device, evidence, db)
        return
    format = format or "t4"
    if format not in _FORMATS:
        raise UnknownName("format", format, list(_FORMATS))
    with open_store(db, read_only=True) as store:
        if format == "metaschedule":
            count, label = export_traces(store, file, workload or _only_workload(store), kernel, device)
            say(f"{count} records of {label} in {file}")
            return
        if format == "optuna":
            from tuner.engine.recorded.studies import export_studies

            studies, count = export_studies(store, file, workload, kernel, device)
            say(f"{count} trials in {studies} studies in {file}; pip install optuna-dashboard shows them")
            return
        if format in ("t4", "kernel-tuner"):
            recorded = recorded_from_store(store, workload or _only_workload(store), kernel, device)
            write_recorded(recorded, file, format)
            say(f"{len(recorded.trials)} trials of {recorded.label} in {file}")
            return
        trials = stored_trials(store, workload)
    if not trials:
        raise TunerError("nothing is stored" + (f" of {workload}" if workload else ""))
    write_table(trials, file, format)
    print(f"{len(trials)} trials in {file}")


def _only_workload(store: "Store") -> str:
    from tuner.core.errors import TunerError

    keys = sorted({s.spec.workload.key for s in store.sweeps()})
    if len(keys) != 1:
        raise TunerError(f"choose one with --workload: {', '.join(keys[:12]) or 'nothing is stored'}")
    return keys[0]


def bench_searchers(
    spaces: Annotated[list[Path], typer.Option(help="Recorded spaces, one or more files.")],
    searchers: Annotated[
        str, typer.Option(help="Comma-separated; kernel_tuner:STRATEGY for Kernel Tuner's, where installed.")
    ] = "random,tpe,surrogate",
    seeds: Annotated[int, typer.Option(min=1, max=100_000, help="Runs of each pair.")] = 10,
    trials: Annotated[
        int, typer.Option(min=1, max=MAX_COUNT, help="Trials a run; a failure costs one.")
    ] = 200,
    history: Annotated[
        list[Path] | None, typer.Option(help="What transfer may know; never the device under test.")
    ] = None,
    other_shapes: Annotated[
        bool, typer.Option("--other-shapes", help="The device under test may be in it, with other problems.")
    ] = False,
    history_trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_COUNT,
            help="Of --history what a surrogate sweep of so many trials finds; default: all.",
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=1024, help="Runs side by side.")] = 1,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the curves into this file; default: beside --json.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Write every run to this file.")] = None,
) -> None:
    """Compare search strategies on recorded spaces, in trials and in simulated seconds; no GPU needed."""
    from tuner.cli.common import aligned
    from tuner.cli.searchers import RunsProgress
    from tuner.engine.recorded import bench_searchers as engine

    names = [name.strip() for name in searchers.split(",") if name.strip()]
    loaded = engine.load_spaces(spaces)
    known = engine.Known(engine.load_spaces(history or []), other_shapes, history_trials)

    progress = RunsProgress()
    progress.begin(len(names), len(loaded), seeds, trials)
    bench = engine.bench_searchers(
        loaded, names, seeds, trials, known, processes, lambda done, total, run: progress(done, total)
    )
    head, *rows = engine.table(bench)
    title = "mean over spaces and seeds; @n: share of the optimum after n trials; replayed, not measured"
    for line in aligned(head, rows, "l" + "r" * (len(head) - 1), {0: title}):
        print(line)
    for note in bench.notes:
        print(note)
    if output is not None:
        bench.write_json(output)
        print(f"runs in {output}")
        picture = picture or output.with_suffix(".png")
    if picture is not None:
        engine.plot(bench, picture)
        print(f"picture: {picture}")
