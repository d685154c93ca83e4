"""`tuner sweep`: tune a workload, store every trial, decide."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.common import Db, Default, Json, NoDevice
from tuner.core.bounds import MAX_SEED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.cli.named import NamedOptions
    from tuner.core.device import Device
    from tuner.core.kernel import Kernel
    from tuner.core.protocol import Protocol
    from tuner.core.workload import Workload
    from tuner.engine.candidate.described import DescribedDevice
    from tuner.engine.tuning.campaign_outcome import CampaignOutcome
    from tuner.engine.tuning.plan import Plan
    from tuner.engine.tuning.series import SeriesLayer
    from tuner.engine.tuning.setting import Setting
    from tuner.store.store import Store

_EXAMPLES = """
Examples:

  tuner sweep gemm --shape 1024x1024x1024

  tuner sweep gemm --shape 512x512x512 --kernel cpp_packed --kernel tir_packed --searcher tpe --trials 200

  tuner sweep gemm --shape 4096x4096x4096 --target cuda:sm_90 --no-device --kernel cuda_warp_tiles

  tuner sweep gemm --shape 4096x4096x4096 --device cuda:0 --kernel cuda_warp_tiles

  tuner sweep gemm --shape "m64 n4096 k4096 bias relu" --threads 1 --seconds 120 --resume

  tuner sweep conv2d --workloads resnet50 --trials 40 --give-up-after 10

  tuner sweep gemm --shape 512x512x512 --kernel cpp_tiled --config TILE_M=16,TILE_N=64 --config TILE_M=32

  tuner sweep gemm --shape 512x512x512 --configs bests.json    (what tuner best --json printed elsewhere)
"""

# How many times slower than the best a layer's finalist may be, of models with dozens of layers.
_FINAL_WITHIN = 2.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("sweep", epilog=_EXAMPLES)(sweep)


def sweep(
    context: typer.Context,
    operator: Annotated[
        str | None, typer.Argument(help="Operator: gemm, ... With --workloads: only its layers.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="MxNxK, or by name with options: 'm64 n32 k16 bias relu'.", show_default=False),
    ] = None,
    workloads: Annotated[
        list[str] | None,
        typer.Option(help="The layers of a model in place of a shape: resnet50, bert-base, ...; repeatable."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Element type.")] = "f32",
    kernel: Annotated[
        list[str] | None,
        typer.Option(help="Kernel to tune; repeat for several. Default: all that can serve."),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(
            help="A configuration to measure, 'P=V,Q=W' of the one --kernel or 'KERNEL:P=V,Q=W'; repeatable. "
            "These are measured and no others; with --trials (or --seconds, --patience) a search begins with "
            "them. What is left out is as in the kernel's default."
        ),
    ] = None,
    configs: Annotated[
        list[Path] | None,
        typer.Option(
            help="The same from a file: JSON objects in a list or one a line, or what 'tuner best --json' "
            "and 'tuner export' write; repeatable."
        ),
    ] = None,
    searcher: Annotated[
        str, typer.Option(help="Search strategy; 'tuner kernels --searchers' lists them.")
    ] = "auto",
    trials: Annotated[
        int | None, typer.Option(help="Trials a kernel. Default 100 where no bound is given.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds a kernel.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many trials with no improvement.")
    ] = None,
    give_up_after: Annotated[
        int | None,
        typer.Option(help="Trials after which a kernel far behind another one is given up."),
    ] = None,
    foresee: Annotated[
        bool,
        typer.Option(help="Where a kernel was never run, begin at what was good elsewhere or is predicted."),
    ] = True,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Makes the proposals reproducible.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the unfinished sweep of the same kind.")
    ] = False,
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Measure known configurations again.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: all cores.")] = None,
    cache: Annotated[
        str | None, typer.Option(help="warm (default) or cold caches, or model: as a layer finds them.")
    ] = None,
    between: Annotated[
        int,
        typer.Option(min=0, max=2**20, help="With --cache model: MiB of other data between two calls."),
    ] = 0,
    sustained: Annotated[
        float | None,
        typer.Option(help="Seconds a candidate keeps the device busy before it is timed. Default 0: bursts."),
    ] = None,
    lock_clock: Annotated[
        int | None, typer.Option(min=1, help="Hold a GPU's clock at so many MHz meanwhile (root).")
    ] = None,
    relative_interval: Annotated[
        float | None,
        typer.Option(max=1.0, help="Repeat until half the 95% interval is this share of the median."),
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Measure the libraries too.")] = True,
    default: Default = None,
    rounds: Annotated[
        int,
        typer.Option(
            help="Rounds of the interleaved final, rounded up to as many in each of its 9 processes: 5 are "
            "9, 25 are 27. 0 for no final."
        ),
    ] = 25,
    target: Annotated[
        str | None, typer.Option(help="What to compile for, e.g. cuda:sm_90. Default: what the device is.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="What to measure on: cpu, cuda or cuda:1. Default: the target's.")
    ] = None,
    no_device: NoDevice = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Tune one workload: search each kernel's space, store every trial, hold an interleaved final."""
    from tuner import registry
    from tuner.cli.check import parse_defaults
    from tuner.cli.common import command_line
    from tuner.cli.named import named_options
    from tuner.core.errors import TunerError
    from tuner.engine.candidate.described import described
    from tuner.engine.tuning import campaign
    from tuner.engine.tuning.budget import Budget
    from tuner.engine.tuning.series import layers_of

    again = command_line(context, without=("resume", "json"))
    registry.searcher(searcher)
    bounded = any(bound is not None for bound in (trials, seconds, patience))
    named = named_options(context, config or (), configs or (), bounded, quiet=json)
    trials = trials if bounded else 100
    plan = campaign.Plan(
        searcher, seed, Budget(trials, seconds, patience), resume, remeasure, rounds=rounds,
        give_up_after=give_up_after, defaults=parse_defaults(default or ()), foresee=foresee,
    )  # fmt: skip
    if between and cache != "model":
        raise TunerError("--between is of --cache model: give that too")
    timing = {"threads": threads, "cache": cache, "sustained_s": sustained, "clock_mhz": lock_clock}
    timing |= {"relative_interval": relative_interval, "between_bytes": between * 2**20 or None}
    # Of what somebody named a slow one is wanted too, and not only that it is far behind.
    timing |= {"prune_factor": 0.0 if named.exactly else None}
    if workloads:
        if named.given:
            raise TunerError("--config and --configs are of one shape: give --shape in place of --workloads")
        if shape is not None or no_device:
            raise TunerError("--workloads is in place of --shape, and is measured: it has no --no-device")
        chosen = measured_on(device, target)
        protocol = campaign.default_protocol(chosen, **timing)
        from tuner.store.store import open_store

        layers = layers_of(workloads, operator, dtype)
        with open_store(db) as store:
            setting = campaign.Setting(chosen, protocol, plan, store)
            _sweep_layers(workloads, layers, setting, kernel or (), baselines, json, again)
        return
    if operator is None or shape is None:
        raise TunerError("name an operator and its --shape, or a model with --workloads")
    workload = registry.operator(operator).parse(shape, dtype)
    if no_device:
        end([_compile_only(workload, described(target, device), kernel or (), plan, named, db, json)])
        return
    chosen = measured_on(device, target)
    protocol = campaign.default_protocol(chosen, **timing)
    plan, who = _who(workload, chosen, protocol, plan, named, kernel or (), baselines)
    asked = {"kernels": kernel or (), "baselines": baselines, "command": again}
    end([_measure(workload, chosen, protocol, plan, who, asked, db, json)])


def _who(
    workload: "Workload", device: "Device", protocol: "Protocol", plan: "Plan", named: "NamedOptions",
    kernels: "Sequence[str]", baselines: bool,
) -> "tuple[Plan, tuple[list[Kernel], dict[str, str]]]":  # fmt: skip
    """How kernels are tuned and which, and who is left out and why; what cannot be is refused at once."""
    from tuner.engine.tuning.campaign import check_memory, choose_kernels
    from tuner.engine.tuning.defaults import check_defaults

    check_memory(workload, device)
    target = device.target_for(protocol.threads)
    found = named.by_kernel(kernels, workload, target)
    chosen, skipped = choose_kernels(workload, device, protocol, kernels or list(found), baselines)
    check_defaults(plan.defaults, {workload: chosen}, target)
    return named.plan(plan, found, chosen, workload, target), (chosen, skipped)


def _measure(
    workload: "Workload", device: "Device", protocol: "Protocol", plan: "Plan",
    who: "tuple[Sequence[Kernel], Mapping[str, str]]", asked: "Mapping[str, Any]", db: str | None, json: bool,
) -> "CampaignOutcome":  # fmt: skip
    """Tunes these kernels, holds the final and prints what came out.

    Args:
        who: the kernels, and those that are left out with the reason.
        asked: of the campaign's record.
    """
    from tuner.cli.progress import SweepProgress
    from tuner.engine.candidate.workshop import Workshop
    from tuner.engine.tuning import campaign
    from tuner.engine.tuning.campaign_log import CampaignLog

    kernels, skipped = who
    with Workshop(device, protocol, campaign.fresh_seed()) as workshop:
        workshop.warm(kernels)
        # Imported here: with that, opening the store takes 0.5 s, and the warm processes import meanwhile.
        from tuner.store.store import open_store

        with open_store(db) as store:
            with SweepProgress(quiet=json) as progress:
                setting = campaign.Setting(device, protocol, plan, store, progress)
                spec = campaign.campaign_spec([workload], setting, **asked)
                with CampaignLog(store, spec, plan.resume) as log:
                    part = log.part(0)
                    outcome = campaign.run_campaign(workload, kernels, setting, skipped, workshop, part)
            assert outcome.campaign_id is not None
            report(outcome.campaign_id, store, json)
    return outcome


def _sweep_layers(
    names: "Sequence[str]", layers: "Sequence[SeriesLayer]", setting: "Setting", kernels: "Sequence[str]",
    baselines: bool, json: bool, again: str,
) -> None:  # fmt: skip
    """Tunes the layers of models, one campaign each, and prints one table."""
    from dataclasses import replace

    from tuner.cli.progress import SweepProgress
    from tuner.engine.tuning.series import run_series
    from tuner.report.present import present

    # With --resume, layers that were finished before are not tuned a second time. In the finals of so many
    # layers there is no time for what cannot win.
    plan = replace(setting.plan, reuse=setting.plan.resume, final_within=_FINAL_WITHIN)
    title = f"{', '.join(dict.fromkeys(names))}: tuned kernels against the fastest library"
    with SweepProgress(quiet=json) as progress:
        setting = replace(setting, plan=plan, observer=progress)
        outcomes = run_series(layers, setting, kernels, baselines, title=title, kind="network", command=again)
    present(setting.store.campaign(number_of(outcomes)), setting.store, None, json)
    end(list(outcomes.values()))


def number_of(outcomes: "Mapping[Workload, CampaignOutcome]") -> int:
    """The campaign in the store that outcomes are of."""
    found = next(iter(outcomes.values())).campaign_id
    assert found is not None
    return found


def measured_on(device: str | None, target: str | None) -> "Device":
    """The device that `--device` and `--target` ask for; see `find_device`."""
    from tuner.engine.candidate.devices import find_device

    return find_device(device, target)


def _compile_only(
    workload: "Workload",
    device: "DescribedDevice",
    kernels: "Sequence[str]",
    plan: "Plan",
    named: "NamedOptions",
    db: str | None,
    json: bool,
) -> "CampaignOutcome":
    """Ranks candidates for a described target on paper."""
    from tuner.cli.progress import SweepProgress
    from tuner.engine.tuning import compile_only
    from tuner.engine.tuning.setting import Setting
    from tuner.store.store import open_store

    found = named.by_kernel(kernels, workload, device.target)
    chosen, skipped = compile_only.kernels_to_compile(workload, device, kernels or list(found))
    plan = named.plan(plan, found, chosen, workload, device.target)
    with open_store(db) as store:
        with SweepProgress(quiet=json) as progress:
            setting = Setting(device, device.default_protocol(), plan, store, progress)
            outcome = compile_only.run_compile_only(workload, chosen, setting, skipped)
        assert outcome.campaign_id is not None
        report(outcome.campaign_id, store, json)
    return outcome


def end(outcomes: "Sequence[CampaignOutcome]") -> None:
    """The end of a command that tunes: says what was all wrong, and gives the exit code.

    Raises:
        typer.Exit: 130 after Ctrl-C, 1 where a workload has nothing that is right.
    """
    import sys

    from tuner.engine.tuning.nothing_right import has_failed, reasons

    for line in reasons(outcomes):
        print(line, file=sys.stderr)
    if any(outcome.interrupted for outcome in outcomes):
        raise typer.Exit(130)
    if any(has_failed(outcome) for outcome in outcomes):
        raise typer.Exit(1)


def report(campaign_id: int, store: "Store", json: bool) -> None:
    """Prints what a campaign found for its workloads, as the store has it."""
    from tuner.cli.common import console, print_json
    from tuner.cli.final_table import final_lines
    from tuner.report.campaign_view import view
    from tuner.report.records_json import part_json

    campaign = store.campaign(campaign_id)
    parts = [view(campaign, part, store) for part in campaign.reached]
    if json:
        documents = [part_json(part) for part in parts]
        print_json(documents[0] if len(campaign.parts) == 1 and documents else documents)
        return
    out = console()
    for part in parts:
        for line in final_lines(part):
            out.print(line)
