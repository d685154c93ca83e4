"""`tuner replay`: a sweep of a recorded space, served from the store on a simulated clock."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.common import Db, Json
from tuner.core.bounds import MAX_SEED

if TYPE_CHECKING:
    from tuner.engine.recorded.replay_sweep import ReplayResult, StoredSpace
    from tuner.store.store import Store

_EXAMPLES = """
Examples:

  tuner replay gemm_clblast-rtx_3090.json.gz --trials 200

  tuner replay xgemm --device 3090 --searcher transfer --seconds 600
"""
_STEPS = (1, 5, 10, 25, 50, 100, 200, 500, 1000)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("replay", epilog=_EXAMPLES)(replay)


def replay(
    space: Annotated[
        str, typer.Argument(help="A recorded file, or the kernel or workload key of an imported one.")
    ],
    device: Annotated[
        str | None, typer.Option(help="A part of the recorded device's name, where several are stored.")
    ] = None,
    searcher: Annotated[
        str, typer.Option(help="Search strategy; 'tuner kernels --searchers' lists them.")
    ] = "auto",
    trials: Annotated[int | None, typer.Option(help="Trials. Default 100 where no bound is given.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Simulated seconds: what compiling and running took when recorded.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many trials with no improvement.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Makes the proposals reproducible.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the unfinished replay of the same kind.")
    ] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Sweep a recorded space with no device: every trial is a recorded one, nothing is measured.

    A file is imported first. What is imported of the same kernel on other devices is history for transfer.
    """
    from tuner.engine.recorded.replay_sweep import replay_sweep
    from tuner.engine.tuning.budget import Budget
    from tuner.store.store import open_store

    if trials is None and seconds is None and patience is None:
        trials = 100
    budget = Budget(trials, seconds, patience)
    with open_store(db) as store:
        result = replay_sweep(store, _space(store, space, device), searcher, seed, budget, resume)
    if json:
        from tuner.cli.common import print_json

        print_json(_json(result))
    else:
        _print(result)
    if result.interrupted:
        raise typer.Exit(130)


def _space(store: "Store", space: str, device: str | None) -> "StoredSpace":
    from tuner.engine.recorded.exchange import import_recorded
    from tuner.engine.recorded.replay_sweep import stored_space
    from tuner.interchange import read_recorded
    from tuner.interchange.trials import workload_of

    path = Path(space)
    if not path.is_file() and not space.endswith((".json", ".gz")):
        return stored_space(store, space, device)
    recorded = read_recorded(path)
    for text in recorded.notes:
        print(f"warning: {path}: {text}", file=sys.stderr)
    import_recorded(store, recorded)
    return stored_space(store, workload_of(recorded).key, recorded.fingerprint)


def _json(result: "ReplayResult") -> dict[str, Any]:
    best = result.best
    return {
        "sweep": result.sweep_id,
        "space": result.space.label,
        "evidence": "replayed",
        "configurations": len(result.space.trials),
        "why": result.why or None,
        "trials": [
            {"trial": t.id, "status": str(t.measurement.status), "time_s": t.measurement.time_s,
             "simulated_s": clock, "best_fraction": result.fraction(i + 1)}
            for i, (t, clock) in enumerate(zip(result.trials, result.clock_s, strict=True))
        ],
        "best": None
        if best is None
        else {"trial": best.id, "config": dict(best.key.config), "time_s": best.measurement.time_s},
        "optimum_s": result.optimum_s,
        "simulated_seconds": result.clock_s[-1] if result.clock_s else 0.0,
        "seconds": result.seconds,
        "exhausted": result.exhausted,
        "interrupted": result.interrupted,
    }  # fmt: skip


def _print(result: "ReplayResult") -> None:
    from tuner.cli.common import aligned, config_text, say, seconds
    from tuner.core.measurement import Status

    made = len(result.trials)
    if result.why:
        say(result.why)
    rows = []
    for n in sorted({*(n for n in _STEPS if n < made), made} - {0}):
        first = result.trials[:n]
        times = [t.measurement.time_s for t in first if t.measurement.ok and t.measurement.time_s]
        failed = sum(t.measurement.status not in (Status.OK, Status.PRUNED) for t in first)
        best = seconds(min(times, default=None)) if times else "-"
        rows.append(
            [str(n), best, f"{result.fraction(n):.3f}", f"{result.clock_s[n - 1]:.1f} s", str(failed)]
        )
    title = f"{result.space.label}, sweep s{result.sweep_id}: replayed from a recording, not measured"
    head = ("trials", "best", "of the optimum", "simulated", "failed")
    for line in aligned(head, rows, "rrrrr", {0: title}):
        print(line)
    if result.best is not None:
        say(f"best: t{result.best.id} {config_text(result.best.key.config)}")
    if result.exhausted:
        print("every recorded configuration was tried")
