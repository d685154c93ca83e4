"""`tuner inspect`: every stage of a candidate, from source to machine code."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.common import Json
from tuner.core.bounds import MAX_SEED

if TYPE_CHECKING:
    from tuner.engine.examine.inspect import CandidateInspection, Stage

_EXAMPLES = """
Examples:

  tuner inspect cpp_packed --shape 256x256x256 --stage assembly

  tuner inspect cuda_vectorized --shape 1024x1024x1024 --target cuda:sm_90 --html page.html

  tuner inspect triton --shape 512x512x512 --dtype f16 --diff "num_stages=2"
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("inspect", epilog=_EXAMPLES)(inspect)


def inspect(
    kernel: Annotated[str, typer.Argument(help="Kernel by name, or a declared .cpp or .cu file.")],
    shape: Annotated[str, typer.Option(help="Shape of the workload.")],
    dtype: Annotated[str | None, typer.Option(help="Element type; default the kernel's first.")] = None,
    config: Annotated[str | None, typer.Option(help="'A=1 B=2' or JSON; default a random one.")] = None,
    diff: Annotated[
        str | None, typer.Option(help="Show what these parameters change, stage by stage: 'A=2'.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Default: this machine's CPU, or cuda:sm_80.")] = None,
    stage: Annotated[str | None, typer.Option(help="Print only stages whose name contains this.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page instead.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the random configuration.")] = 0,
    json: Json = False,
) -> None:
    """Show source, intermediate forms and machine code of one candidate, with resources and roofline."""
    from tuner import registry
    from tuner.cli.check import parse_config
    from tuner.cli.common import print_json
    from tuner.core.kernel import Kernel
    from tuner.engine.examine import inspect as engine
    from tuner.engine.examine.check import choose_configs
    from tuner.engine.examine.targets import target_of

    is_file = kernel.endswith((".cu", ".cpp"))
    chosen: Kernel = registry.source_kernel(Path(kernel)) if is_file else registry.kernel(kernel)
    where = target_of(chosen, target)
    workload = registry.operator(chosen.operator).parse(shape, dtype or chosen.dtypes[0])
    chosen.require(workload, where)
    space = chosen.space(workload, where)
    first = choose_configs(space, parse_config(config) if config else None, 1, seed)[0]
    shown = engine.inspect(chosen, workload, first, where)
    other, diffs = None, []
    if diff is not None:
        other = engine.inspect(chosen, workload, {**first, **parse_config(diff)}, where)
        diffs = engine.stage_diffs(shown, other)
    if json:
        content = shown.as_dict()
        if other is not None:
            content["diff"] = {"config": dict(other.config), "metrics": dict(other.metrics),
                               "stages": {d.name: d.text for d in diffs}}  # fmt: skip
        print_json(content)
        return
    if html is not None:
        from tuner.core.output_file import put
        from tuner.report.inspection import inspection_page

        plain = [{"name": d.name, "language": d.language, "text": d.text} for d in diffs]
        put(html, inspection_page(shown.as_dict(), other.as_dict() if other else None, plain))
        print(f"page: {html}")
        return
    _print(shown, diffs if other is not None else list(shown.stages), stage)


def _print(shown: "CandidateInspection", stages: "list[Stage]", only: str | None) -> None:
    from rich.syntax import Syntax

    from tuner.cli.common import config_text, console

    out = console()
    out.print(
        f"[bold]{shown.kernel}[/bold] {shown.workload.key} {shown.target.name}: {config_text(shown.config)}"
    )
    for name, value in shown.metrics.items():
        out.print(f"{name:>28}  {value:g}", markup=False)
    if shown.problem:
        out.print(f"over resources: {shown.problem}", markup=False)
    for name, value in shown.roofline().items():
        out.print(f"{name:>28}  {value:g}", markup=False)
    if shown.prediction is not None:
        p = shown.prediction
        out.print(f"{'predicted, not measured':>28}  {p.time_s:.3g} s, bound by {p.bound}", markup=False)
    for stage in stages:
        if only is not None and only.lower() not in stage.name.lower():
            continue
        out.rule(f"{stage.name} ({len(stage.text.splitlines()):,} lines)")
        out.print(Syntax(stage.text or "no difference", stage.language, theme="ansi_dark", word_wrap=False))
