"""What `bench_serving` measures, each in a process of its own: a model's server, and its bare executor."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.errors import TunerError
from tuner.lab.closed_loop import ClientConnection
from tuner.model.load.http import Client
from tuner.model.load.target import AskedModel

if TYPE_CHECKING:
    from tuner.model.serving.loading import Made


@dataclass(frozen=True)
class ServingSetting:
    """How the model is run, by the server and bare.

    Attributes:
        model: its file.
        batch: the largest.
        threads: of all runs together; `None`: all cores.
        db: of tuned kernels; `None`: ONNX Runtime runs it.
        instances: batches that run at a time, each on its share of the threads.
    """

    model: Path
    batch: int
    threads: int | None
    db: str | None
    instances: int = 1

    @property
    def each(self) -> int | None:
        """Threads of one run; `None`: what falls to it of all cores."""
        return None if self.threads is None else max(1, self.threads // self.instances)

    def arguments(self) -> list[str]:
        """Of `tuner model serve`."""
        found = ["--max-batch", str(self.batch), "--instances", str(self.instances)]
        found += ["--executor", "onnxruntime"] if self.db is None else ["--db", self.db]
        return found + (["--threads", str(self.each)] if self.each else [])


class Bare:
    """The executor at the largest batch, in a process that runs it when it is told to.

    Args:
        setting: how.
        instances: executors side by side, each on its share of the threads.
    """

    def __init__(self, setting: ServingSetting, instances: int = 1) -> None:
        command = [sys.executable, "-m", "tuner.lab.bench_serving", str(setting.model), "--bare",
                   "--batch", str(setting.batch), "--instances", str(instances)]  # fmt: skip
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
    """What the process of `Bare` does: for each number of seconds on stdin a line with rows a second.

    Inputs lie where a run reads them, if it has such a place: nothing is copied but by the model itself.
    """
    from tuner.engine.candidate.devices import default_device
    from tuner.model.runtime import random_inputs
    from tuner.model.serving.loading import Maker, threads_each
    from tuner.store.store import open_store

    device = default_device(None)
    with nullcontext() if setting.db is None else open_store(setting.db, read_only=True) as store:
        threads = threads_each(device, setting.each, setting.instances)
        maker = Maker(threads, device, store)
        made = [maker.make(setting.model, {}, setting.batch) for _ in range(setting.instances)]
    inputs = random_inputs(made[0].graph, 1)
    for one in made:
        one.run(inputs)
        for name, array in one.memory.items():
            array[...] = inputs[name]

    def loop(one: "Made", seconds: float, counts: list[int]) -> None:
        begun, runs, given = time.perf_counter(), 0, {**inputs, **one.memory}
        while time.perf_counter() - begun < seconds:
            one.run(given)
            runs += 1
        counts.append(runs)

    print("ready", flush=True)
    for line in sys.stdin:
        counts, begun = list[int](), time.perf_counter()
        others = [threading.Thread(target=loop, args=(m, float(line), counts)) for m in made[1:]]
        for other in others:
            other.start()
        loop(made[0], float(line), counts)
        for other in others:
            other.join()
        print(sum(counts) * setting.batch / (time.perf_counter() - begun), flush=True)


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
        sums = {part: sum(batch[part]["ns"] for batch in found["batch_stats"]) / 1e9 for part in parts}
        return {"rows": found["inference_count"], "batches": found["execution_count"], **sums}

    def cpu_s(self) -> tuple[float, float]:
        """Seconds of a core that the event loop took, and all other threads together."""
        loop = whole = 0.0
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            try:
                spent = _ran_s(task)
            except (FileNotFoundError, ProcessLookupError):  # a thread that ended just now
                continue
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


def _ran_s(task: Path) -> float:
    """Seconds of a core that a thread had: as the scheduler counts, else in ticks, which are coarse."""
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
