"""What commands share: options, output, formats."""

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.report import text
from tuner.report.text import config_text as config_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from tuner.core.stats import Interval
    from tuner.core.workload import Workload

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
Default = Annotated[
    list[str] | None,
    typer.Option(
        "--default",
        help="What tuning a kernel is held against in the final: 'KERNEL:P=V,Q=W'; repeatable. "
        "Default: the first of its lists.",
    ),
]
NoDevice = Annotated[
    bool, typer.Option("--no-device", help="Compile, emulate and predict for --target; measure nothing.")
]
Host = Annotated[str, typer.Option(help="Address to listen on; another than a loopback one needs a token.")]
Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="Database: a path or an SQLAlchemy URL. Default: $TUNER_DB, else results.db in this folder.",
        show_default=False,
    ),
]


def console(stderr: bool = False) -> "Console":
    """A console; wide enough for tables where the output is not a terminal."""
    import shutil

    from rich.console import Console

    class SafeConsole(Console):
        """Prints texts with their control characters made visible; styles are rich's own."""

        def print(self, *objects: Any, **named: Any) -> None:
            super().print(*(text.safe(o, lines=True) if isinstance(o, str) else o for o in objects), **named)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # as plain output does; rich would exit with 1

    width = None if shutil.get_terminal_size((0, 0)).columns else 160
    return SafeConsole(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def say(line: str) -> None:
    """One line on standard output, whatever it holds."""
    print(text.safe(line))


def command_line(context: typer.Context, without: "Sequence[str]" = ()) -> str:
    """The command that is running, with the arguments and options that were given, to be pasted into a shell.

    Args:
        context: of the command.
        without: parameters to leave out, by the names of the function's.
    """
    import shlex

    arguments: list[str] = []
    options: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in without or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        values = [f"{v:g}" if isinstance(v, float) else str(v)
                  for v in (value if isinstance(value, list | tuple) else [value])]  # fmt: skip
        if parameter.param_type_name != "option":
            arguments += values
        elif isinstance(value, bool):
            options.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            options += [word for each in values for word in (parameter.opts[0], each)]
    return shlex.join(["tuner", str(context.info_name), *arguments, *options])


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    from tuner.report.records_json import document

    print(document(value))


def aligned(
    head: "Sequence[str]", rows: "Sequence[Sequence[str]]", sides: str, titles: "Mapping[int, str]"
) -> "Iterator[str]":
    """Lines of a plain table; the last column runs on.

    Args:
        head: column names.
        rows: texts, one a column.
        sides: `l` or `r` a column.
        titles: lines of their own before the rows of these numbers, each followed by the head; without one
            before the first row the head is the first line.
    """
    rows = [[text.safe(cell) for cell in row] for row in rows]
    titles = {number: text.safe(title) for number, title in titles.items()}
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: "Sequence[str]") -> str:
        padded = (
            c.ljust(w) if side == "l" else c.rjust(w) for c, w, side in zip(cells, widths, sides, strict=True)
        )
        return "  ".join(padded).rstrip()

    for number, row in enumerate(rows):
        if number in titles:
            if number:
                yield ""
            yield titles[number]
        if number in titles or not number:
            yield line(head)
        yield line(row)


def counted(number: int, noun: str) -> str:
    """`1 shape`, `2 shapes`, `1,000 shapes`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def seconds(value: float | None) -> str:
    """A time with three significant digits and its unit: `1.23 ms`."""
    return "-" if value is None or not math.isfinite(value) else text.seconds(value)


def spread(interval: "Interval | None") -> str:
    """An interval as its larger deviation in percent: `±1.2%`; `-` where one number is all that is known."""
    if interval is not None and interval.low == interval.high:
        return "-"
    return text.spread(interval) if interval is not None else ""


def work(workload: "Workload") -> int | None:
    """Operations of a stored workload; `None` where its operator is not here or does not take it."""
    from tuner import registry

    operator = registry.operators().get(workload.operator)
    try:
        return operator.flops(workload) if operator else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None  # a database of something else named it so


def rate(flops: int | None, time_s: float | None) -> str:
    """GFLOP/s."""
    if flops is None:
        return "-"
    return f"{flops / time_s / 1e9:.1f}" if time_s else "-"


def age(when: datetime) -> str:
    """How long ago, in the largest fitting unit."""
    from datetime import UTC

    passed = (datetime.now(UTC) - when).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= size:
            return f"{passed / size:.0f} {unit} ago"
    return "just now"
