"""`tuner model`: ONNX models, inspected, tuned layer by layer and compared end to end."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import model_load, model_serve
from tuner.cli._model import Dim, Inputs, Model, parse_dims
from tuner.cli.common import Db, Json
from tuner.cli.model_compare import compare
from tuner.cli.model_int8 import int8
from tuner.cli.model_quantize import quantize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.model.inspection import Inspection
    from tuner.model.tuning import Prepared, Projection

_EXAMPLES = """
Examples:

  tuner model inspect resnet50.onnx

  tuner model inspect bert.onnx --dim batch=1 --dim sequence=128 --json

  tuner model tune resnet50.onnx --minutes 30

  tuner model compare resnet50.onnx --batch 1,2,4,8

  tuner model quantize resnet50.onnx --calibration images.npz --per-channel

  tuner model int8 resnet50.onnx resnet50.int8.onnx
"""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="model", help="ONNX models: what is in them, tuned, compared and served.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )  # fmt: skip
    group.command("inspect", epilog=_EXAMPLES)(inspect)
    group.command("tune", epilog=_EXAMPLES)(tune)
    group.command("compare", epilog=_EXAMPLES)(compare)
    group.command("quantize", epilog=_EXAMPLES)(quantize)
    group.command("int8", epilog=_EXAMPLES)(int8)
    group.command("serve", epilog=model_serve.EXAMPLES)(model_serve.serve)
    group.command("load", epilog=model_load.EXAMPLES)(model_load.load)
    app.add_typer(group)


def inspect(
    model: Model,
    dim: Dim = None,
    all_nodes: Annotated[
        bool, typer.Option("--all", help="List every node, not only the distinct workloads.")
    ] = False,
    json: Json = False,
) -> None:
    """List a model's workloads, their share of the work, and what the lab does not tune and why.

    Nothing of the model is executed.
    """
    from tuner.cli.common import print_json, say
    from tuner.engine.candidate.devices import default_device
    from tuner.model.inspection import as_plain
    from tuner.model.inspection import inspect as look
    from tuner.model.reading import read_model

    found = look(read_model(model, parse_dims(dim or ())), default_device(None).target)
    if json:
        print_json(as_plain(found))
        return
    for line in (*_head(found), *(_node_lines(found) if all_nodes else _workload_lines(found))):
        say(line)


def _head(found: "Inspection") -> "Iterator[str]":
    graph = found.graph
    for kind, names in (("input", graph.inputs), ("output", graph.outputs)):
        for name in names:
            value = graph.value(name)
            shape = "x".join(map(str, value.shape)) if value.shape is not None else "of unknown shape"
            yield f"{kind} {name}: {value.dtype} {shape}"
    share = found.tuned_flops / found.flops if found.flops else 0.0
    yield (
        f"{len(graph.nodes)} nodes, {found.constants} of them constant; {found.flops / 1e9:.3g} GFLOP and "
        f"{found.nbytes / 2**20:.3g} MiB a run; {share:.1%} of the FLOPs are in "
        f"{len(found.layers.layers)} layers of {len(found.layers.counts)} workloads that the lab tunes"
    )


def _workload_lines(found: "Inspection") -> "Iterator[str]":
    from tuner.cli.common import aligned
    from tuner.model.inspection import not_tuned

    sums: dict[str, list[int]] = {}
    fused: dict[str, str] = {}
    for row in found.rows:
        if row.workload:
            entry = sums.setdefault(row.workload, [0, 0, 0])
            for i, more in enumerate((1, row.flops, row.nbytes)):
                entry[i] += more
            fused.setdefault(row.workload, "+".join(dict.fromkeys(row.ops)))
    rows = [
        [key, str(count), f"{flops / (found.flops or 1):.1%}", f"{nbytes / (found.nbytes or 1):.1%}",
         fused[key]]
        for key, (count, flops, nbytes) in sorted(sums.items(), key=lambda item: -item[1][1])
    ]  # fmt: skip
    yield ""
    yield from aligned(["workload", "times", "FLOPs", "bytes", "nodes"], rows, "lrrrl", {})
    rest = [[why, str(n), f"{share:.1%}", ops] for why, n, share, ops in not_tuned(found)]
    if rest:
        yield ""
        yield from aligned(["not tuned: why", "nodes", "FLOPs", "operators"], rest, "lrrl", {})


def _node_lines(found: "Inspection") -> "Iterator[str]":
    from tuner.cli.common import aligned

    flops, nbytes = found.flops or 1, found.nbytes or 1
    rows = [
        [row.nodes[0], "+".join(row.ops), row.dtype or "?", f"{row.flops / flops:.1%}",
         f"{row.nbytes / nbytes:.1%}", row.workload or f"not tuned: {row.reason}"]
        for row in found.rows
    ]  # fmt: skip
    yield ""
    yield from aligned(["node", "operators", "dtype", "FLOPs", "bytes", "workload"], rows, "lllrrl", {})


def tune(
    context: typer.Context,
    model: Model,
    dim: Dim = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=4096, help="First dimension of every input.", show_default=False)
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials of each kernel, the mean over the layers. Default 24; 48 with --minutes.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="For all of it, within a tenth: sweeps, finals, peaks and profile.")
    ] = None,
    kernel: Annotated[
        list[str] | None, typer.Option(help="Kernel to tune; repeatable. Default: all that can serve.")
    ] = None,
    searcher: Annotated[str, typer.Option(help="Search strategy.")] = "auto",
    give_up_after: Annotated[
        int, typer.Option(min=1, help="Trials after which a kernel far behind another one is given up.")
    ] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each layer's interleaved final.")] = 9,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: all cores.")] = None,
    inputs: Inputs = None,
    cache: Annotated[
        str, typer.Option(help="What a layer finds in the caches: model (as in a run), warm or cold.")
    ] = "model",
    baselines: Annotated[
        bool, typer.Option(help="Measure the libraries too, layer by layer: as much time again.")
    ] = False,
    db: Db = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="All notes of all sweeps, not a line a layer.")
    ] = False,
    json: Json = False,
) -> None:
    """Tune each distinct layer once, by its share of the time; interrupted, the same command goes on."""
    from tuner import registry
    from tuner.cli.common import command_line, print_json, say
    from tuner.cli.layer_progress import LayerProgress
    from tuner.cli.sweep import end, number_of
    from tuner.core.bounds import check_positive
    from tuner.engine.candidate.devices import default_device
    from tuner.engine.tuning import campaign
    from tuner.engine.tuning.budget import Budget
    from tuner.model.guards import require_file
    from tuner.model.tuning import TuningAsked, prepare, project, projection_plain, tune_model
    from tuner.report.present import present
    from tuner.store.store import open_store

    began = time.monotonic()
    registry.searcher(searcher)
    if minutes is not None:
        check_positive("minutes", minutes)
    require_file(model)
    device = default_device(None)
    plan = campaign.Plan(
        searcher, budget=Budget(trials=24), rounds=rounds, give_up_after=give_up_after, final_within=2.0
    )
    asked = TuningAsked(model, parse_dims(dim or ()), batch, trials, minutes and minutes * 60, inputs, cache)
    protocol = campaign.default_protocol(device, threads=threads, cache=cache)
    with open_store(db) as store:
        with LayerProgress(json, verbose) as progress:
            setting = campaign.Setting(device, protocol, plan, store, progress)
            ready = prepare(asked, setting)
            progress.runtime_s = {s.workload: s.time_s / s.count for s in ready.shares}
            for line in _split_lines(ready):
                progress.note(line)
            again = command_line(context, without=("json",)).replace("tuner tune", "tuner model tune", 1)
            outcomes = tune_model(asked, ready, setting, kernel or (), baselines, again, began)
        stored = store.campaign(number_of(outcomes)) if outcomes else None
        told = project(ready, stored, store)
        if json:
            print_json({"campaign": stored.id if stored else None, **projection_plain(told)})
        else:
            if stored:
                present(stored, store, None, False)
            for line in _projection_lines(told):
                say(line)
    end(list(outcomes.values()))


def _split_lines(ready: "Prepared") -> "Iterator[str]":
    small = [share for share in ready.shares if not share.matters]
    yield (
        f"{ready.graph.path.name}: {len(ready.found.layers)} layers of {len(ready.shares)} workloads, "
        f"{len(ready.split)} of them tuned"
        + (", as the unfinished run before this one split it" if ready.again else "")
    )
    if small:
        share = sum(s.share for s in small)
        yield f"no budget for {len(small)} workloads, {share:.1%} of a run together: they cannot matter"


def _projection_lines(told: "Projection") -> "Iterator[str]":
    from tuner.cli.common import aligned, seconds

    rows = [
        [layer.share.workload.key, str(layer.share.count), f"{layer.share.share:.1%}",
         seconds(layer.share.time_s / layer.share.count) if layer.share.time_s else "-",
         seconds(layer.tuned.mid) if layer.tuned else "-",
         layer.kernel or ("" if layer.share.matters else "cannot matter: no budget")]
        for layer in told.layers
    ]  # fmt: skip
    head = ["workload", "times", "share", "ONNX Runtime's profile", "tuned", "kernel"]
    yield ""
    yield from aligned(head, rows, "lrrrrl", {0: "one call of each layer"})
    yield ""
    profiled = seconds(told.profiled_s)
    yield f"a run in ONNX Runtime: {seconds(told.runtime_s)} measured, {profiled} in its profile"
    yield (
        f"projected with the tuned kernels: {seconds(told.projected_s)}, {seconds(told.rest_s)} of it what "
        "the lab does not tune (a sum of parts, not measured: 'tuner model compare' measures the whole)"
    )
