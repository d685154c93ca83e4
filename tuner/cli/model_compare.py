"""`tuner model compare`: whole models, side by side."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli._model import Dim, Inputs, Model, parse_dims
from tuner.cli.common import Db, Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.model.comparing import AtBatch


class Mix(StrEnum):
    """Who computes a layer for which a kernel is tuned."""

    AUTO = "auto"
    OURS = "ours"


def compare(
    model: Model,
    dim: Dim = None,
    batch: Annotated[
        str | None, typer.Option(help="Batches, as 1,2,4,8. Default: what the file says.", show_default=False)
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, max=1000, help="Turns of each way to run it.")] = 15,
    chart: Annotated[
        Path | None,
        typer.Option(help="Draw latency over the batch to this path, as PNG and SVG.", show_default=False),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: all cores.")] = None,
    inputs: Inputs = None,
    mix: Annotated[
        Mix, typer.Option(help="Leave layers to ONNX Runtime with which it is surely faster, or none.")
    ] = Mix.AUTO,
    beside: Annotated[
        Path | None, typer.Option(help="Another model: time both beside each other too.", show_default=False)
    ] = None,
    beside_dim: Annotated[
        list[str] | None, typer.Option(help="Size of a symbolic dimension of it.", show_default=False)
    ] = None,
    db: Db = None,
    json: Json = False,
) -> None:
    """Time a whole model: ONNX Runtime, OpenVINO, and the graph run with the tuned kernels, side by side."""
    import sys

    from tuner.cli.common import print_json, say
    from tuner.core.errors import TunerError
    from tuner.engine.candidate.devices import default_device
    from tuner.engine.tuning.campaign import default_protocol
    from tuner.model.beside import Neighbour
    from tuner.model.comparing import compared_plain
    from tuner.model.comparison import ComparisonAsked, compare_model
    from tuner.model.guards import require_file
    from tuner.store.store import open_store

    device, batches = default_device(None), parse_batches(batch)
    if chart is not None and len(batches) < 2:
        raise TunerError("--chart draws times over the batch: give two with --batch, as 1,8")
    protocol = default_protocol(device, threads=threads)
    for named in (model, *([] if beside is None else [beside])):
        require_file(named)
    with open_store(db, read_only=True) as store:
        asked = ComparisonAsked(model, parse_dims(dim or ()), batches, rounds, inputs, mix is Mix.AUTO)
        other = None
        if beside is not None:
            other = Neighbour(beside, parse_dims(beside_dim or ()), db, protocol.threads)
        try:
            found = compare_model(
                asked, store, device, protocol.threads,
                lambda text: None if json else print(text, file=sys.stderr), other,
            )  # fmt: skip
        finally:
            if other is not None:
                other.close()
    if chart is not None:
        from tuner.model.chart import batch_chart
        from tuner.store.records import DeviceInfo

        about = f"{DeviceInfo.of(device).name}, {protocol.threads} threads; bars are 95% intervals"
        for written in batch_chart(f"{model.name} over the batch", about, found, chart):
            print(written, file=sys.stderr)
    if json:
        print_json([compared_plain(at, at.batch or 1) for at in found])
    else:
        for at in found:
            for line in _compared_lines(at):
                say(line)
    if any(at.wrong for at in found):
        raise typer.Exit(1)


def parse_batches(given: str | None) -> "list[int | None]":
    """`1,2,4` as numbers; nothing as the file's own.

    Raises:
        TunerError: one is no number from 1 to 4096.
    """
    from tuner.core.errors import TunerError

    if given is None:
        return [None]
    parts = given.split(",")
    if not all(p.isascii() and p.isdigit() and len(p) <= 4 and 1 <= int(p) <= 4096 for p in parts):
        raise TunerError(f"--batch {given}: give numbers from 1 to 4096, as 1,2,4")
    return list(dict.fromkeys(int(part) for part in parts))


def _compared_lines(found: "AtBatch") -> "Iterator[str]":
    from tuner.cli.common import aligned, seconds, spread
    from tuner.report.text import ratio

    size = found.batch or 1
    rows = [
        [t.name, seconds(t.latency.mid), spread(t.latency), seconds(t.p50), seconds(t.p95), seconds(t.p99),
         f"{size / t.latency.mid:.4g}/s", ratio(t.speedup), f"{t.error:.1%}", t.note]
        for t in found.timed
    ]  # fmt: skip
    head = [
        "runs by",
        "time",
        "95%",
        "p50",
        "p95",
        "p99",
        "throughput",
        "vs best ONNX Runtime [95%]",
        "error",
        "",
    ]
    yield ""
    title = f"batch {found.batch}" if found.batch else "as the file says"
    yield from aligned(head, rows, "lrrrrrrrrl", {0: title})
    if found.disturbed:
        yield f"disturbed: {found.disturbed}: run it again when the machine is quiet"
    for name, error in found.wrong.items():
        yield f"{name}: wrong, {error:.3g} times the difference that is allowed: not timed"
    for name, why in found.missing.items():
        yield f"{name}: not there: {why}"
    if found.beside:
        yield ""
        yield from _beside_lines(found)
    for key, count, gain in found.left:
        yield (
            f"left to ONNX Runtime, {count} layers of {key}: a run with their kernels takes "
            f"{ratio(gain)} the time ('--mix ours' leaves none)"
        )
    if found.facts.get("near") or found.facts.get("left"):
        yield (
            f"{found.facts['near']} layers use a configuration tuned for another batch or size, or for "
            "weights that may change, "
            f"{found.facts['left']} layers have none and are ONNX Runtime's"
        )


def _beside_lines(found: "AtBatch") -> "Iterator[str]":
    from tuner.cli.common import aligned, seconds

    rows = [
        [each.name if kind == "alone" else "", kind, *(seconds(p) for p in (load.p50, load.p95, load.p99)),
         f"{load.per_s:.4g}/s", f"{other.per_s:.4g}/s"]
        for each in found.beside
        for kind, load, other in (
            ("alone", each.alone, each.other_alone), ("together", each.shared, each.other_shared)
        )
    ]  # fmt: skip
    head = ["both run by", "", "p50", "p95", "p99", "runs", "the other's"]
    yield from aligned(head, rows, "llrrrrr", {0: "beside the other model"})
