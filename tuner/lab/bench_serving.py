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
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.lab.closed_loop import Asked, ClientConnection, Ran, made, run
from tuner.model.comparing import difference
from tuner.model.load.arrivals import Schedule, load
from tuner.model.load.http import Client
from tuner.model.load.target import VARIANTS, AskedModel, Body, arrays_of, error_of

CLIENTS, REQUESTS = 32, 10_000
GOAL_RATIO, GOAL_TAIL = 0.9, 3.0
"""Of the bare executor's throughput at least; p99 over p50 at half load at most."""


@dataclass(frozen=True)
class ServingSetting:
    """How the model is run, by the server and bare.

    Attributes:
        model: its file.
        batch: the largest.
        threads: of each run; `None`: all cores.
        db: of tuned kernels; `None`: ONNX Runtime runs it.
    """

    model: Path
    batch: int
    threads: int | None
    db: str | None

    def arguments(self) -> list[str]:
        """Of `tuner model serve`."""
        found = ["--max-batch", str(self.batch)]
        found += ["--executor", "onnxruntime"] if self.db is None else ["--db", self.db]
        return found + (["--threads", str(self.threads)] if self.threads else [])


class Bare:
    """The executor at one batch, in a process that runs it when it is told to."""

    def __init__(self, setting: ServingSetting) -> None:
        command = [sys.executable, "-m", "tuner.lab.bench_serving", str(setting.model), "--bare",
                   "--batch", str(setting.batch)]  # fmt: skip
        command += ["--db", setting.db] if setting.db else []
        command += ["--threads", str(setting.threads)] if setting.threads else []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line()

    def rate(self, seconds: float) -> float:
        """Rows a second, over so many seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise TunerError("the bare executor did not begin: it says why above")
        return line

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def run_bare(setting: ServingSetting) -> None:
    """What the process of `Bare` does: for each number of seconds on stdin a line with rows a second."""
    from contextlib import nullcontext

    from tuner.engine.candidate.devices import default_device
    from tuner.engine.tuning.campaign import default_protocol
    from tuner.model.runtime import random_inputs
    from tuner.model.serving.loading import Maker
    from tuner.store.store import open_store

    device = default_device(None)
    with nullcontext() if setting.db is None else open_store(setting.db, read_only=True) as store:
        threads = default_protocol(device, threads=setting.threads).threads
        one = Maker(threads, device, store).make(setting.model, {}, setting.batch)
    inputs = random_inputs(one.graph, 1)
    one.run(inputs)
    print("ready", flush=True)
    for line in sys.stdin:
        begun, runs = time.perf_counter(), 0
        while time.perf_counter() - begun < float(line):
            one.run(inputs)
            runs += 1
        print(runs * setting.batch / (time.perf_counter() - begun), flush=True)


class Server:
    """`tuner model serve` in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", host: str, port: int, name: str) -> None:
        self._process, self.host, self.port, self.name = process, host, port, name

    def target(self) -> AskedModel:
        """What makes requests to the model."""
        return AskedModel(Client(f"http://{self.host}:{self.port}"), self.name, self._inputs())

    def _inputs(self) -> list[tuple[str, str, tuple[int, ...]]]:
        said = self._get(f"/v2/models/{self.name}")
        return [(i["name"], i["datatype"], tuple(i["shape"])) for i in said["inputs"]]

    def _get(self, path: str) -> Any:
        connection = ClientConnection(self.host, self.port)
        try:
            asked = f"GET {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n\r\n"
            return json.loads(connection.ask(asked.encode()).body)
        finally:
            connection.close()

    def counts(self) -> dict[str, float]:
        """Rows, batches, and seconds of each part, since it began."""
        found = self._get(f"/v2/models/{self.name}/stats")["model_stats"][0]
        parts = ("compute_input", "compute_infer", "compute_output")
        sums = {
            part: sum(batch[part]["ns"] for batch in found["batch_stats"]) / 1e9 for part in parts
        }  # fmt: skip
        return {"rows": found["inference_count"], "batches": found["execution_count"], **sums}

    def cpu_s(self) -> tuple[float, float]:
        """Seconds of a core that the event loop took, and all other threads together."""
        loop, whole, ticks = 0.0, 0.0, os.sysconf("SC_CLK_TCK")
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            spent = (int(fields[11]) + int(fields[12])) / ticks
            whole += spent
            loop += spent if int(task.name) == self._process.pid else 0.0
        return loop, whole - loop


@contextmanager
def served(setting: ServingSetting) -> Iterator[Server]:
    """A server of the model, on a port of its own."""
    name = "m"
    command = [sys.executable, "-m", "tuner", "model", "serve", f"{name}={setting.model}", "--port", "0",
               *setting.arguments()]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        found = None
        while found is None:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise TunerError("tuner model serve did not begin: it says why above")
            print(line.rstrip(), file=sys.stderr)
            found = re.search(r"http://([^:]+):(\d+)/v2", line)
        yield Server(process, found[1], int(found[2]), name)
    finally:
        process.terminate()
        process.wait()


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


def rounds(setting: ServingSetting, server: Server, count: int, seconds: float) -> dict[str, Any]:
    """Bare and served in turn; medians of each figure, and of the ratios of neighbours."""
    bare, found = Bare(setting), list[dict[str, dict[str, float]]]()
    try:
        for _ in range(count):
            alone = bare.rate(seconds)
            ways = {
                "whole": saturated(server, setting.batch, 2, seconds, setting.batch),
                "rows": saturated(server, 1, 2 * setting.batch, seconds, setting.batch),
            }
            again = bare.rate(seconds)
            for way in ways.values():
                way["bare_rows_per_s"] = (alone + again) / 2
                way["ratio"] = way["rows_per_s"] / way["bare_rows_per_s"]
            found.append(ways)
            said = ", ".join(f"{name} {way['ratio']:.3f}" for name, way in ways.items())
            print(f"round {len(found)}: {said} of {way['bare_rows_per_s']:.1f} rows/s", file=sys.stderr)
    finally:
        bare.close()
    return {
        f"{name}_{figure}": statistics.median(one[name][figure] for one in found)
        for name in found[0]
        for figure in found[0][name]
    }


def half_load(server: Server, capacity: float, seconds: float) -> dict[str, float]:
    """p50, p99 and their ratio at half of a capacity in rows a second, by requests of one row."""
    found: dict[str, float] = {}
    for name, spaced in (("poisson", False), ("spaced", True)):
        plan = Schedule([capacity / 2], [1], seconds, spaced=spaced)
        _, (outcome,) = load(f"http://{server.host}:{server.port}", None, server.name, plan)
        p50, p99 = outcome.percentile(50), outcome.percentile(99)
        found |= {f"{name}_p50_ms": 1e3 * p50, f"{name}_p99_ms": 1e3 * p99, f"{name}_p99_over_p50": p99 / p50,
                  f"{name}_late_p99_ms": 1e3 * outcome.late_p99}  # fmt: skip
        if outcome.refused or outcome.failed:
            raise TunerError(f"at half load: {outcome.refused} refused, failed {dict(outcome.failed)}")
    return found


def checked(server: Server, clients: int, total: int) -> dict[str, float]:
    """Requests of many clients, each answer held against that of the same input when it was asked alone."""
    bodies = requests(server, 1, clients, 2)
    alone, asked, rights = ClientConnection(server.host, server.port), list[list[Asked]](), list[Any]()
    for own in bodies:
        asked.append([])
        for body in own:
            answer = alone.ask(made(server.host, server.port, server.name, body).data)
            if answer.status != 200:
                raise TunerError(f"the server does not answer: {error_of(answer)}")
            rights.append(arrays_of(answer))
            asked[-1].append(made(server.host, server.port, server.name, body, rights[-1]))
    alone.close()
    each = -(-total // clients)
    ran: Ran = run(server.host, server.port, asked, lambda number, _: number >= each)
    return {
        "requests": clients * each,
        "answered": len(ran.ended_s),
        "wrong": ran.wrong,
        "failed": ran.failed.total(),
        "alike_pairs": sum(difference(a, b) <= 1 for a, b in combinations(rights, 2)),
    }


def measure(setting: ServingSetting, count: int, seconds: float, total: int) -> dict[str, Any]:
    """All figures of a model."""
    with served(setting) as server:
        found: dict[str, Any] = {"model": setting.model.stem, "batch": setting.batch}
        found |= rounds(setting, server, count, seconds)
        found |= half_load(server, found["rows_rows_per_s"], max(4 * seconds, 10.0))
        return found | checked(server, CLIENTS, total)


def _named(given: str, folder: Path) -> Path:
    from tuner.lab.graphs import make

    if given.endswith(".onnx"):
        return Path(given)
    path = folder / f"{given}.onnx"
    path.write_bytes(make(given).SerializeToString())
    return path


def main(given: Sequence[str] | None = None) -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m tuner.lab.bench_serving", description="Measures tuner model serve."
    )
    parser.add_argument("model", help="an .onnx file, or the name of a model of tuner.lab.graphs")
    parser.add_argument("--db", help="of tuned kernels; without it ONNX Runtime runs the model")
    parser.add_argument("--batch", type=int, default=8, help="the largest")
    parser.add_argument("--threads", type=int, help="of each run; all cores if left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part of a round")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="that 32 clients send")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args(given)
    try:
        with tempfile.TemporaryDirectory() as folder:
            setting = ServingSetting(_named(said.model, Path(folder)), said.batch, said.threads, said.db)
            if said.bare:
                run_bare(setting)
                return
            figures = measure(setting, said.rounds, said.seconds, said.requests)
    except TunerError as error:
        parser.exit(2, f"error: {error}\n")
    print(json.dumps({n: round(v, 4) if isinstance(v, float) else v for n, v in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
