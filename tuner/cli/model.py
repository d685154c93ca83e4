"""`tuner model`: ONNX models, inspected, tuned layer by layer and compared end to end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.common import Json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.model.inspection import Inspection

_EXAMPLES = """
Examples:

  tuner model inspect resnet50.onnx

  tuner model inspect bert.onnx --dim batch=1 --dim sequence=128 --json
"""

Model = Annotated[Path, typer.Argument(help="The model's .onnx file.", show_default=False)]
Dim = Annotated[
    list[str] | None,
    typer.Option("--dim", help="Size of a symbolic dimension, as N=8; repeatable.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="model", help="ONNX models: what is in them, tuned and compared.", no_args_is_help=True,
        rich_markup_mode=None,
    )  # fmt: skip
    group.command("inspect", epilog=_EXAMPLES)(inspect)
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


def parse_dims(given: "Sequence[str]") -> dict[str, int]:
    """`N=8` as {"N": 8}.

    Raises:
        TunerError: it is no name and size, or a name has two.
    """
    from tuner.core.errors import TunerError

    found: dict[str, int] = {}
    for text in given:
        name, _, size = text.rpartition("=")
        if (
            not name
            or not size.isascii()
            or not size.isdigit()
            or not 1 <= int(size[:10]) <= 2**20
            or len(size) > 9
        ):
            raise TunerError(f"--dim {text}: give a name and a size from 1 to {2**20}, as N=8")
        if found.setdefault(name, int(size)) != int(size):
            raise TunerError(f"--dim {name} is given twice")
    return found


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
