"""`tuner check`: is a GPU kernel right, and free of races and stray accesses? No GPU needed."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tuner.cli.common import Json
from tuner.core.bounds import MAX_SEED
from tuner.core.brief import brief

_EXAMPLES = """
Examples:

  tuner check cuda_shared_tiles --shape 64x48x40

  tuner check cuda_split_k --shape "m33 n65 k129 bias relu" --random 5 --target cuda:sm_90

  tuner check my_kernel.cu --shape 64x64x64 --config "BLOCK=16 UNROLL=2" --json

Exit code 0: right and clean; 1: something was found; 2: it could not be checked.
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("check", epilog=_EXAMPLES)(check)


def check(
    kernel: Annotated[
        str, typer.Argument(help="A CUDA or Triton kernel by name, or a .cu file with its declaration.")
    ],
    shape: Annotated[list[str], typer.Option(help="Shape; repeat for several. Small: it is emulated.")],
    dtype: Annotated[str | None, typer.Option(help="Element type; default the kernel's first.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration: 'BLOCK=16 UNROLL=2' or JSON.")] = None,
    random: Annotated[
        int, typer.Option(min=1, max=10_000, help="So many random valid configurations instead.")
    ] = 1,
    target: Annotated[
        str | None, typer.Option(help="Target whose limits hold; default cuda:sm_80 for CUDA.")
    ] = None,
    sanitize: Annotated[bool, typer.Option(help="Watch every access.")] = True,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Of inputs, configurations and the order of threads.")
    ] = 0,
    json: Json = False,
) -> None:
    """Verify a GPU kernel and run the sanitizers on the CPU emulator."""
    from tuner import registry
    from tuner.cli.common import config_text, print_json
    from tuner.core.errors import BuildError
    from tuner.engine.examine import check as engine
    from tuner.engine.examine.targets import target_of

    chosen = engine.kernel_of(kernel)
    where = target_of(chosen, target)
    operator = registry.operator(chosen.operator)
    workloads = [operator.parse(text, dtype or chosen.dtypes[0]) for text in shape]
    wanted = parse_config(config) if config is not None else None
    if not json and (left_out := getattr(chosen, "left_out", "")):
        print(left_out)
    results: list[engine.Checked] = []
    for workload in workloads:
        engine.require(chosen, workload, where)
        configs = engine.choose_configs(chosen.space(workload, where), wanted, random, seed)
        for result in engine.check_kernel(chosen, [workload], configs, where, seed, sanitize, nvrtc=True):
            results.append(result)
            if not json:
                watched = "" if result.sanitized else ", not sanitized"
                print(f"{result.status}: {chosen.name} {workload.key} {config_text(result.config)}{watched}")
                for line in [str(f) for f in result.findings] or [result.error]:
                    if line:
                        print(f"  {line}")
                for line in [*_bank_lines(result.banks), *([result.note] if result.note else [])]:
                    print(f"  {line}")
    failed = [r for r in results if r.status == "build_error"]
    if failed and len(failed) == len(results):
        raise BuildError(failed[0].error)  # nothing could be checked
    if json:
        left_out = getattr(chosen, "left_out", "") or None
        print_json(
            {
                "kernel": chosen.name,
                "left_out": left_out,
                "target": where.name,
                "results": [r.as_dict() for r in results],
            }
        )
    raise typer.Exit(0 if all(r.clean for r in results) else 1)


def _bank_lines(banks: Sequence[Any]) -> list[str]:
    """The lines with bank conflicts, the worst five of them."""
    if not banks:
        return []
    requests, conflicts = (sum(getattr(use, name) for use in banks) for name in ("requests", "conflicts"))
    if not conflicts:
        return [f"shared memory: no bank conflicts in {requests} requests"]
    worst = [str(use) for use in banks if use.conflicts][:5]
    return [f"shared memory: {conflicts} bank conflicts in {requests} requests", *worst]


def parse_defaults(texts: "Sequence[str]") -> dict[str, dict[str, Any]]:
    """Configurations by kernel, of texts `KERNEL:P=V,Q=W`.

    Raises:
        InvalidConfig: one is not of this form, or a kernel has two.
        UnknownName: there is no such kernel.
    """
    from tuner import registry
    from tuner.core.errors import InvalidConfig

    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, separator, config = text.partition(":")
        if not separator or not config.strip():
            raise InvalidConfig(f"default {brief(text)} is not KERNEL:P=V,Q=W")
        if registry.kernel(name).name in found:
            raise InvalidConfig(f"kernel {name} has two defaults")
        found[name] = parse_config(config)
    return found


def parse_config(text: str) -> dict[str, Any]:
    """A configuration of a text: `A=1 B=true C=xyz`, or a JSON object.

    Raises:
        InvalidConfig: it is neither.
    """
    import json

    from tuner.core.errors import InterchangeError, InvalidConfig
    from tuner.interchange.named_configs import read_config

    if text.lstrip().startswith("{"):
        try:
            return dict(read_config(text, f"configuration {brief(text)}"))
        except InterchangeError as error:
            raise InvalidConfig(str(error)) from None
    config: dict[str, Any] = {}
    for word in text.replace(",", " ").split():
        name, separator, raw = word.partition("=")
        if not separator or not name or not raw:
            raise InvalidConfig(f"configuration {brief(text)}: {brief(word)} is not NAME=VALUE")
        if name in config:
            raise InvalidConfig(f"configuration {brief(text)} gives {brief(name)} twice")
        try:
            config[name] = json.loads(raw.lower() if raw in ("True", "False") else raw)
        except (ValueError, RecursionError):
            config[name] = raw
        config[name] = _plain(name, config[name])
    return config


def _plain(name: str, value: Any) -> Any:
    from tuner.core.errors import InvalidConfig

    if not isinstance(value, bool | int | float | str):
        raise InvalidConfig(f"parameter {brief(name)} is a number, a boolean or a text, not {brief(value)}")
    return value
