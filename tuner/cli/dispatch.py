"""`tuner dispatch`: one rule for all shapes of an operator, from what is stored."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.common import Db, Json
from tuner.core.bounds import MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuner.core.workload import Workload
    from tuner.export.matrix import Matrix
    from tuner.export.rule import HeldOut, Rule
    from tuner.store.store import Store

_EXAMPLES = """
Examples:

  tuner dispatch gemm --within 5%

  tuner dispatch gemm --shapes shapes.txt --within 2% --measure --output gemm-rule.json

  tuner dispatch gemm --workloads bert-base --at-most 6
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("dispatch", epilog=_EXAMPLES)(dispatch)


def dispatch(
    operator: Annotated[str, typer.Argument(help="Operator, or the kernel of an imported recording.")],
    shapes: Annotated[
        Path | None, typer.Option(help="Shapes, one a line, each with '* COUNT' where it occurs so often.")
    ] = None,
    workloads: Annotated[
        list[str] | None, typer.Option(help="The layers of a model, with how often each occurs; repeatable.")
    ] = None,
    within: Annotated[str, typer.Option(help="How far from its own best a shape may be: 5%, 0.05.")] = "5%",
    at_most: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Configurations; then some shapes may be served worse."),
    ] = None,
    kernel: Annotated[list[str] | None, typer.Option(help="Only these kernels; repeat for several.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Element type. Default: the only one, or f32.")] = None,
    device: Annotated[
        str | None, typer.Option(help="A part of the device's name, where several are.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MAX_COUNT, help="Thread count, where several are stored.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="First measure the fastest configurations at every shape.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Write the rule to this file, as JSON.")] = None,
    db: Db = None,
    json: Json = False,
) -> None:
    """The fewest configurations that keep every tuned shape near its best, and a tree that picks one."""
    from functools import partial

    from tuner.cli.common import print_json, say
    from tuner.export.local import read_local
    from tuner.export.rule import leave_one_out, make_rule
    from tuner.store.store import open_store

    share = fraction(within)
    asked = _asked(operator, shapes, workloads or (), dtype)
    if measure:
        # A database that is not there has nothing to begin with, and is not made.
        open_store(db, read_only=True).close()
    with open_store(db, read_only=not measure) as store:
        read = partial(
            read_local, store, operator, dtype,
            shapes=asked, device=device, threads=threads, kernels=kernel or (),
        )  # fmt: skip
        matrix = _measured(read, store, quiet=json) if measure else read()
    rule = make_rule(matrix, share, at_most)
    held_out = leave_one_out(matrix, share, at_most) if len(matrix.searched) > 2 else []
    untuned = [w.key for w in asked or () if w not in rule.table]
    if output is not None:
        import json as writer

        from tuner.core.output_file import put

        put(output, writer.dumps(rule.as_plain(), indent=2) + "\n")
    if json:
        print_json({**rule.as_plain(), "held_out": [_held_plain(h) for h in held_out], "untuned": untuned,
                    "not_measured": len(matrix.missing)})  # fmt: skip
        return
    for line in _lines(matrix, rule, held_out):
        say(line)
    if untuned:
        say(
            f"not tuned, so the tree alone serves them: {', '.join(untuned[:6])}{' ...' * (len(untuned) > 6)}"
        )
    if output is not None:
        say(f"rule in {output}")


def fraction(text: str) -> float:
    """`5%` or `0.05` as 0.05.

    Raises:
        TunerError: it is neither, or not between 0 and 1.
    """
    from tuner.core.errors import TunerError

    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise TunerError(f"--within {text}: give a share like 5% or 0.05, from 0 to 1")
    return value


def _asked(
    operator: str, shapes: Path | None, workloads: "Any", dtype: str | None
) -> "Mapping[Workload, float] | None":
    from tuner import registry
    from tuner.core.errors import TunerError
    from tuner.engine.tuning.series import layers_of
    from tuner.export.shapes import read_shapes

    if shapes is not None and workloads:
        raise TunerError("--workloads is in place of --shapes")
    if shapes is not None:
        return read_shapes(shapes, registry.operator(operator), dtype or "f32")
    if not workloads:
        return None
    found: dict[Workload, float] = {}
    for layer in layers_of(workloads, operator, dtype or "f32"):
        found[layer.workload] = found.get(layer.workload, 0.0) + layer.count
    return found


def _measured(read: "Callable[[], Matrix]", store: "Store", quiet: bool) -> "Matrix":
    """What is read, once the fastest configurations are measured at every shape.

    Raises:
        TunerError: the times that are stored are of another machine.
        typer.Exit: 130 after Ctrl-C.
    """
    from tuner.cli.progress import SweepProgress
    from tuner.core.errors import TunerError
    from tuner.engine.tuning.campaign import default_protocol
    from tuner.export.fill import fill
    from tuner.export.local import here

    matrix = read()
    local = here(matrix.group)
    if local is None:
        raise TunerError(
            f"--measure times on this machine, and these times are of {matrix.group.device.name} "
            f"({matrix.group.evidence})"
        )
    with SweepProgress(quiet=quiet) as progress:
        done = fill(matrix, local, default_protocol(local, threads=matrix.group.threads), store, progress)
    if not done:
        raise typer.Exit(130)
    return read()


def _lines(matrix: "Matrix", rule: "Rule", held_out: "list[HeldOut]") -> "list[str]":
    """The table, the tree and what both cost."""
    from tuner.cli.common import aligned, config_text, counted
    from tuner.export.tree import tree_lines

    group = rule.group
    lines = [
        f"{rule.operator}/{rule.dtype} on {group.device.name}, {group.threads} threads, {group.cache} cache: "
        f"{counted(len(rule.choices), 'configuration')} for {counted(len(matrix.searched), 'tuned shape')}, "
        f"each within {rule.within:.0%} of its own best"
        + ("" if rule.served > 1 - 1e-9 else f" for {rule.served:.0%} of the weight")
    ]
    if group.evidence != "measured":
        lines.append(f"{group.evidence} times: recorded elsewhere, not measured here")
    if group.stale:
        lines.append(f"{counted(group.stale, 'trial')} left out: the kernel's source has changed since")
    if matrix.tried:
        lines.append(
            f"{counted(len(matrix.tried), 'shape')} more, where a few of these configurations were timed at "
            "first use, teach the tree"
        )
    if matrix.missing:
        cells = len(matrix.choices) * len(matrix.searched)
        lines.append(f"{len(matrix.missing)} of {cells} times are not stored: --measure takes them")
    names = [f"c{i}" for i in range(len(rule.choices))]
    lines += [""]
    for i, (name, choice) in enumerate(zip(names, rule.choices, strict=True)):
        mark = " (default)" if i == rule.default else ""
        lines.append(f"{name}{mark}: {choice.kernel} {config_text(choice.config)}")
    lines += [""]
    head = ["shape", "weight", "best", "uses", "slower by", "by the tree alone", "default slower by"]
    defaults = matrix.ratios()[[c.digest for c in matrix.choices].index(rule.choices[rule.default].digest)]
    rows = [
        [w.key, f"{matrix.weights[c]:g}", _seconds(matrix.best_s[c]), names[rule.table[w][0]],
         _slower(rule.table[w][1]), _by_tree(matrix, rule, names, c), _slower(float(defaults[c]))]
        for c, w in ((c, matrix.shapes[c]) for c in matrix.searched)
    ]  # fmt: skip
    lines += aligned(head, rows, "lrrlrlr", {0: "tuned shapes"})
    lines += ["", "tree, for shapes that are not in the table", *tree_lines(rule.tree, names, "  "), ""]
    lines += _held_lines(rule, held_out)
    return lines


def _by_tree(matrix: "Matrix", rule: "Rule", names: "list[str]", column: int) -> str:
    """What the tree, which is as small as it can be, would name for a tuned shape where the table names
    another configuration; and what that would cost."""
    shape = matrix.shapes[column]
    place = rule.choices.index(rule.predict(shape).choice)
    if place == rule.table[shape][0]:
        return "the same"
    row = [choice.digest for choice in matrix.choices].index(rule.choices[place].digest)
    return f"{names[place]}, {_slower(float(matrix.ratios()[row, column]))}"


def _held_lines(rule: "Rule", held_out: "list[HeldOut]") -> "list[str]":
    if not held_out:
        return ["regret on shapes not tuned: needs 3 tuned shapes or more"]
    from tuner.export.rule import summary

    said = summary(held_out, rule.within)
    lines = [
        f"each shape left out in turn, then served by the rule of the others: {said['within']:.0%} of the "
        f"weight within {rule.within:.0%} of its own best, median {_slower(said['median'])}, worst "
        f"{_slower(said['worst'])}; the default alone: {said['default_within']:.0%} within"
    ]
    if said["unsure"]:
        lines.append(
            f"unsure of {said['unsure']} of {len(held_out)} shapes: far from tuned ones, or shapes like "
            "them disagree"
        )
    if said["unknown"]:
        lines.append(f"{said['unknown']} of {len(held_out)} picks were not measured and count as not within")
    return lines


def _slower(ratio: float) -> str:
    if math.isnan(ratio):
        return "not measured"
    return "fails" if math.isinf(ratio) else f"{ratio - 1:.1%}"


def _seconds(value: float) -> str:
    from tuner.cli.common import seconds

    return seconds(float(value))


def _held_plain(held: "HeldOut") -> dict[str, Any]:
    ratio = held.ratio if math.isfinite(held.ratio) else None
    return {
        "workload": held.workload.key, "weight": held.weight, "kernel": held.picked.choice.kernel,
        "config": dict(held.picked.choice.config), "ratio": ratio, "sure": held.sure, "why": held.picked.why,
        "default_ratio": held.default if math.isfinite(held.default) else None,
    }  # fmt: skip
