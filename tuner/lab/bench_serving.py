"""Measures `tuner model serve` beside the bare executor: `python -m tuner.lab.bench_serving squeezenet`.

The model is an `.onnx` file or one that `tuner.lab.graphs` makes. Printed is JSON:

* rounds, interleaved: rows a second of the bare executor at the largest batch, in a process of its own; of
  the server by requests of so many rows, and by requests of one row that it puts together. The ratio is of
  neighbours, the figure is the median of the rounds.
* whose CPU time it was: of the clients, of the server's event loop, of the threads that run the model.
  Clients run on the same machine: what they take is missing to the server, and is in the ratio.
* p50 and p99 at half of the rate that the rounds gave, Poisson arrivals, latencies from when each was due;
  and evenly spaced ones, for what the server adds by itself. A queue with Poisson arrivals and a service that
  always takes the same time has a p99 of 4.4 times the p50 at half load (M/D/1).
* 10,000 requests of 32 clients, each with inputs of its own, each answer held against its own input's.

A line on stderr says what each step found. With `--minutes` no step begins later than that, with `--state`
the steps that are done are kept in a file, and the same command goes on behind them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.lab.closed_loop import Asked, ClientConnection, Ran, made, run
from tuner.lab.kept_steps import Figures, KeptSteps
from tuner.lab.serving_processes import Bare, Server, ServingSetting, run_bare, served
from tuner.model.comparing import difference
from tuner.model.load.arrivals import Schedule, load
from tuner.model.load.target import VARIANTS, Body, arrays_of, error_of

CLIENTS, REQUESTS = 32, 10_000
GOAL_RATIO, GOAL_TAIL = 0.9, 3.0
"""Of the bare executor's throughput at least; p99 over p50 at half load at most."""
_EACH = 32
"""Requests of each client in one step: seconds, so that a step is lost and not the whole."""
_OF_A_COMMAND = frozenset({"minutes", "state"})
"""Arguments that do not change what is measured."""


def requests(server: Server, rows: int, clients: int, each: int) -> list[list[Body]]:
    """Bodies for each client, none like another's."""
    target, found = server.target(), list[Body]()
    while len(found) < clients * each:
        found += target.bodies(rows, 1 + len(found) // VARIANTS)
    return [found[place * each : (place + 1) * each] for place in range(clients)]


def saturated(server: Server, rows: int, clients: int, seconds: float, most: int) -> dict[str, float]:
    """Rows a second while all clients always have a request under way, and what the time went to."""
    asked = [
        [made(server.host, server.port, server.name, body) for body in bodies]
        for bodies in requests(server, rows, clients, 2)
    ]
    before, (loop, others) = server.counts(), server.cpu_s()
    began = time.perf_counter()
    ran = run(server.host, server.port, asked, lambda _, spent: spent >= seconds)
    wall = time.perf_counter() - began
    after, (loop_after, others_after) = server.counts(), server.cpu_s()
    if ran.failed:
        raise TunerError(f"requests failed: {dict(ran.failed)}")
    spent = {name: after[name] - before[name] for name in before}
    whole = max(spent["rows"], 1)
    return {
        "rows_per_s": rows * ran.per_second(max(1, most // rows)),
        "rows_per_batch": spent["rows"] / max(spent["batches"], 1),
        "share_inferring": spent["compute_infer"] / wall,
        "gather_ms_per_row": 1e3 * spent["compute_input"] / whole,
        "infer_ms_per_row": 1e3 * spent["compute_infer"] / whole,
        "client_cpu_ms_per_row": 1e3 * ran.client_cpu_s / whole,
        "loop_cpu_ms_per_row": 1e3 * (loop_after - loop) / whole,
        "model_cpu_ms_per_row": 1e3 * (others_after - others) / whole,
    }


def one_round(setting: ServingSetting, server: Server, bare: Sequence[Bare], seconds: float) -> Figures:
    """Bare, served, and bare again; of the server what each way gives, and its ratio to its neighbours.

    Args:
        setting: how.
        server: that is measured.
        bare: the executor alone; and, where the server has instances, as many beside each other.
        seconds: of each part.
    """
    under_way = 2 * setting.instances
    before = [one.rate(seconds) for one in bare]
    ways = {
        "whole": saturated(server, setting.batch, under_way, seconds, setting.batch * setting.instances),
        "rows": saturated(server, 1, under_way * setting.batch, seconds, setting.batch * setting.instances),
    }
    alone = [(first + one.rate(seconds)) / 2 for first, one in zip(before, bare, strict=True)]
    found = {"bare_rows_per_s": alone[0]} | ({"bare_instances_rows_per_s": alone[1]} if alone[1:] else {})
    for name, way in ways.items():
        found |= {f"{name}_{figure}": value for figure, value in way.items()}
        found[f"{name}_ratio"] = way["rows_per_s"] / alone[0]
    return found


def at_half(server: Server, rate: float, seconds: float, spaced: bool) -> Figures:
    """p50, p99 and their ratio, of what is answered, at a rate of requests of one row a second."""
    plan = Schedule([rate], [1], seconds, spaced=spaced)
    _, (outcome,) = load(f"http://{server.host}:{server.port}", None, server.name, plan)
    if not outcome.latencies_s:
        raise TunerError(
            f"at half load: {outcome.refused} refused, failed {dict(outcome.failed)}, none answered"
        )
    p50, p99 = outcome.percentile(50), outcome.percentile(99)
    return {"rate": rate, "p50_ms": 1e3 * p50, "p99_ms": 1e3 * p99, "p99_over_p50": p99 / p50,
            "late_p99_ms": 1e3 * outcome.late_p99, "refused": outcome.refused,
            "failed": outcome.failed.total()}  # fmt: skip


class HeldAnswers:
    """Requests of many clients, each answer held against that of the same input when it was asked alone."""

    def __init__(self, server: Server, clients: int) -> None:
        self._server, self._asked, rights = server, list[list[Asked]](), list[Any]()
        alone = ClientConnection(server.host, server.port)
        for own in requests(server, 1, clients, 2):
            self._asked.append([])
            for body in own:
                answer = alone.ask(made(server.host, server.port, server.name, body).data)
                if answer.status != 200:
                    raise TunerError(f"the server does not answer: {error_of(answer)}")
                rights.append(arrays_of(answer))
                self._asked[-1].append(made(server.host, server.port, server.name, body, rights[-1]))
        alone.close()
        self._alike = sum(difference(a, b) <= 1 for a, b in combinations(rights, 2))

    def __call__(self, each: int) -> Figures:
        """Has every client ask so often."""
        ran: Ran = run(self._server.host, self._server.port, self._asked, lambda number, _: number >= each)
        return {
            "requests": len(self._asked) * each,
            "answered": len(ran.ended_s),
            "wrong": ran.wrong,
            "failed": ran.failed.total(),
            "alike_pairs": self._alike,
        }


def _rounds(
    setting: ServingSetting, server: Server, count: int, seconds: float, steps: KeptSteps
) -> dict[str, float]:
    """Medians of the figures of all rounds."""
    bare, found = list[Bare](), list[Figures]()

    def measured() -> Figures:
        if not bare:
            sides = [1] if setting.instances == 1 else [1, setting.instances]
            bare.extend(Bare(setting, side) for side in sides)
        return one_round(setting, server, bare, seconds)

    shown = ("whole_ratio", "rows_ratio", "bare_rows_per_s")
    try:
        for number in range(count):
            one = steps.step(f"round {number + 1} of {count}", measured, shown)
            found += [one] if one is not None else []
    finally:
        for process in bare:
            process.close()
    return {figure: statistics.median(one[figure] for one in found) for figure in (found or [{}])[0]}


def _half_load(server: Server, capacity: float, seconds: float, steps: KeptSteps) -> dict[str, float]:
    """At half of a capacity in rows a second."""
    found: dict[str, float] = {}
    shown = ("p50_ms", "p99_ms", "p99_over_p50", "refused", "failed")
    for name, spaced in (("poisson", False), ("spaced", True)):
        measured = partial(at_half, server, capacity / 2, seconds, spaced)
        figures = steps.step(f"half load, {name}", measured, shown) or {}
        found |= {f"{name}_{figure}": value for figure, value in figures.items()}
    return found


def _requests(server: Server, clients: int, total: int, steps: KeptSteps) -> dict[str, float]:
    """Sums over steps of some requests of each client."""
    each, checked, found = -(-total // clients), list[HeldAnswers](), list[Figures]()

    def measured(count: int) -> Figures:
        if not checked:
            checked.append(HeldAnswers(server, clients))
        return checked[0](count)

    for begin in range(0, each, _EACH):
        count = min(_EACH, each - begin)
        name = f"requests {clients * begin + 1} to {clients * (begin + count)} of {clients * each}"
        one = steps.step(name, partial(measured, count))
        found += [one] if one is not None else []
    sums = {name: sum(one[name] for one in found) for name in ("requests", "answered", "wrong", "failed")}
    return sums | {"alike_pairs": max((one["alike_pairs"] for one in found), default=0)}


def measure(
    setting: ServingSetting, count: int, seconds: float, total: int, steps: KeptSteps
) -> dict[str, Any]:
    """All figures of a model that the time was enough for; `steps_left` names what is missing."""
    found: dict[str, Any] = {"model": setting.model.stem, "batch": setting.batch,
                             "instances": setting.instances}  # fmt: skip
    with served(setting) as server:
        found |= _rounds(setting, server, count, seconds, steps)
        if "rows_rows_per_s" in found:
            found |= _half_load(server, found["rows_rows_per_s"], max(4 * seconds, 10.0), steps)
        else:
            steps.left.append("half load")
        found |= _requests(server, CLIENTS, total, steps)
    return found | {"steps_left": steps.left}


def _named(given: str, folder: Path) -> Path:
    from tuner.lab.graphs import make

    if given.endswith(".onnx"):
        return Path(given)
    path = folder / f"{given}.onnx"
    path.write_bytes(make(given).SerializeToString())
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuner.lab.bench_serving", description="Measures tuner model serve."
    )
    parser.add_argument("model", help="an .onnx file, or the name of a model of tuner.lab.graphs")
    parser.add_argument("--db", help="of tuned kernels; without it ONNX Runtime runs the model")
    parser.add_argument("--batch", type=int, default=8, help="the largest")
    parser.add_argument("--threads", type=int, help="of all runs together; all cores if left out")
    parser.add_argument("--instances", type=int, default=1, help="batches that run at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part of a round")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="that 32 clients send")
    parser.add_argument("--minutes", type=float, help="after which no further step begins")
    parser.add_argument("--state", type=Path, help="a file that keeps the steps that are done: "
                        "the same command goes on behind them")  # fmt: skip
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(given: Sequence[str] | None = None) -> None:
    """Prints the figures as JSON."""
    parser = _parser()
    said = parser.parse_args(given)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = _named(said.model, Path(folder))
            setting = ServingSetting(path, said.batch, said.threads, said.db, said.instances)
            if said.bare:
                run_bare(setting)
                return
            kept = {name: str(value) for name, value in vars(said).items() if name not in _OF_A_COMMAND}
            limit_s = None if said.minutes is None else 60 * said.minutes
            steps = KeptSteps(said.state, kept, limit_s)
            figures = measure(setting, said.rounds, said.seconds, said.requests, steps)
    except TunerError as error:
        parser.exit(2, f"error: {error}\n")
    if steps.left:
        print(f"{len(steps.left)} steps are left: {', '.join(steps.left)}", file=sys.stderr)
    print(json.dumps({n: round(v, 4) if isinstance(v, float) else v for n, v in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
