"""`tuner model load`: requests at a rate to a server of models, and their latencies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.common import Json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.model.load.arrivals import RequestOutcome

EXAMPLES = """
Examples:

  tuner model load http://127.0.0.1:8000 --rate 10,20,50 --seconds 10

  tuner model load http://127.0.0.1:8000 --model resnet50 --rate 5,10,20 --batch 1,8 --verify --chart load
"""


def load(
    url: Annotated[str, typer.Argument(help="The server's address.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Name of the model. Default: the only one.", show_default=False)
    ] = None,
    rate: Annotated[str, typer.Option(help="Requests a second, as 10,20,50.")] = "10,20,50",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Of each rate.")] = 10.0,
    batch: Annotated[str, typer.Option(help="Rows of a request, as 1,8.")] = "1",
    verify: Annotated[
        bool, typer.Option("--verify", help="Hold answers against those of the same requests, asked alone.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and inputs.")] = 1,
    chart: Annotated[
        Path | None,
        typer.Option(help="Draw latency over the rate to this path, as PNG and SVG.", show_default=False),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="TUNER_SERVE_TOKEN", help="That the server wants.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Ask a served model at a rate, whether or not it keeps up: latency, throughput, refused and wrong."""
    import sys

    from tuner.cli.common import print_json, say
    from tuner.cli.model_compare import parse_batches
    from tuner.core.bounds import check_positive, check_seed
    from tuner.core.errors import TunerError
    from tuner.model.load.arrivals import Schedule
    from tuner.model.load.arrivals import load as run

    rates = parse_rates(rate)
    check_positive("--seconds", seconds)
    check_seed(seed)
    if chart is not None and len(rates) < 2:
        raise TunerError("--chart draws latency over the rate: give two with --rate, as 10,50")
    batches = [size for size in parse_batches(batch) if size is not None]
    plan = Schedule(rates, batches, seconds, seed, verify)
    if max(rates) * seconds > 10**6:
        raise TunerError("--rate times --seconds is more than a million requests: give less")

    def tell(text: str) -> None:
        if not json:
            print(text, file=sys.stderr, flush=True)

    name, found = run(url, token, model, plan, tell)
    if chart is not None:
        from tuner.model.load.chart import rate_chart

        about = f"Poisson arrivals, {seconds:g} s a rate; from when a request was due; of those answered"
        for written in rate_chart(f"{name} over the rate of requests", about, found, chart):
            print(written, file=sys.stderr)
    if json:
        print_json({"model": name, "seed": seed, "verified": verify, "outcomes": [o.plain() for o in found]})
    else:
        for line in _lines(found, verify):
            say(line)
    if any(outcome.wrong or outcome.failed for outcome in found):
        raise typer.Exit(1)


def parse_rates(given: str) -> list[float]:
    """`10,20.5` as numbers.

    Raises:
        TunerError: one is no number from 0.01 to 100000.
    """
    from tuner.core.brief import brief
    from tuner.core.errors import TunerError

    found = []
    for part in given.split(","):
        try:
            found.append(float(part))
        except ValueError:
            found.append(0.0)
        if not 0.01 <= found[-1] <= 1e5:
            raise TunerError(f"--rate {brief(given, 60)}: give numbers from 0.01 to 100000, as 10,20,50")
    return list(dict.fromkeys(found))


def _lines(found: "Sequence[RequestOutcome]", verify: bool) -> "Iterator[str]":
    from tuner.cli.common import aligned, seconds

    rows = [
        [str(o.batch), f"{o.rate:g}/s", str(o.sent), str(len(o.latencies_s)), str(o.refused),
         str(sum(o.failed.values())), str(o.wrong) if verify else "-",
         *(seconds(o.percentile(p)) for p in (50, 95, 99)), f"{o.throughput:.4g}/s", seconds(o.late_p99)]
        for o in found
    ]  # fmt: skip
    head = ["batch", "rate", "due", "answered", "refused", "failed", "wrong", "p50", "p95", "p99", "inputs",
            "generator late, p99"]  # fmt: skip
    yield from aligned(head, rows, "r" * len(head), {})
    yield "latencies are from when a request was due to its answer, of those that were answered"
    for outcome in found:
        for why, count in outcome.failed.most_common(3):
            yield f"batch {outcome.batch}, {outcome.rate:g}/s: {count} failed: {why}"
    worst = max(found, key=lambda o: o.late_p99)
    if worst.latencies_s and worst.late_p99 > 0.2 * worst.percentile(50):
        yield (
            f"at {worst.rate:g}/s the generator itself was late: its part is in the latencies: run it on "
            "another machine, or at lower rates"
        )
