"""`--config` and `--configs`: the configurations that a user names, and whether nothing else is measured."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.interchange.named_configs import NamedConfig

if TYPE_CHECKING:
    import typer

    from tuner.core.kernel import Kernel
    from tuner.core.space import Config
    from tuner.core.target import Target
    from tuner.core.workload import Workload
    from tuner.engine.tuning.plan import Plan


@dataclass(frozen=True)
class NamedOptions:
    """What the two options say.

    Attributes:
        given: the configurations, in the order they were named.
        exactly: they are all that is measured; else searches begin with them.
        quiet: say nothing of what is left out or filled in.
        notes: what is to be said of that, once nothing is refused any more.
    """

    given: Sequence[NamedConfig] = ()
    exactly: bool = False
    quiet: bool = False
    notes: list[str] = field(default_factory=list)

    def by_kernel(
        self, kernels: "Sequence[str]", workload: "Workload", target: "Target"
    ) -> "dict[str, list[Config]]":
        """The configurations by kernel; none where none were named. See `engine.tuning.named.by_kernel`."""
        from tuner.engine.tuning.named import by_kernel

        return by_kernel(self.given, kernels, workload, target, self.notes.append) if self.given else {}

    def plan(
        self, plan: "Plan", found: "dict[str, list[Config]]", kernels: "Sequence[Kernel]",
        workload: "Workload", target: "Target",
    ) -> "Plan":  # fmt: skip
        """The plan with them; as it is where none were named. See `engine.tuning.named.with_named`."""
        from tuner.engine.tuning.named import with_named
        from tuner.report.text import safe

        if not found:
            return plan
        planned = with_named(plan, found, kernels, workload, target, self.exactly, self.notes.append)
        for text in () if self.quiet else self.notes:
            print(safe(text), file=sys.stderr)
        return planned


def named_options(
    context: "typer.Context", config: Sequence[str], configs: Sequence[Path], bounded: bool, quiet: bool
) -> NamedOptions:
    """What was given, read.

    Args:
        context: of the command, which has a `--searcher`.
        config: texts of `--config`: `A=1,B=2`, `KERNEL:A=1,B=2`, or JSON.
        configs: files of `--configs`.
        bounded: whether a budget was given: then it is searched on from them.
        quiet: as in `NamedOptions`.

    Raises:
        InvalidConfig: a text is no configuration.
        InterchangeError: a file cannot be read, or has something else than configurations.
        TunerError: a searcher is named that has nothing to do.
    """
    from tuner import registry
    from tuner.core.errors import TunerError
    from tuner.interchange.named_configs import read_named

    given = [_of_text(text, number) for number, text in enumerate(config, 1)]
    for file in configs:
        given += read_named(file)
    exactly = bool(given) and not bounded
    source = context.get_parameter_source("searcher")
    if exactly and source is not None and source.name == "COMMANDLINE":
        name = context.params["searcher"]
        if registry.searcher(name).searches:
            raise TunerError(
                f"--searcher {name} has nothing to search where configurations are named: to search on from "
                "them, give --trials too"
            )
    return NamedOptions(given, exactly, quiet)


def _of_text(text: str, number: int) -> NamedConfig:
    from tuner.cli.check import parse_config

    head, colon, rest = text.partition(":")
    # Before a colon a kernel's name; JSON and values may have colons too.
    kernel = head.strip() if colon and not set("={") & set(head) else ""
    return NamedConfig(parse_config(rest if kernel else text), kernel, where=f"--config {number}")
