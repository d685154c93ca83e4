"""Servers of models that are made by hand: y = 3 x + 1 and its sign, in NumPy, held up where a test says."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from tuner.model.graph import Graph, Value
from tuner.model.serving.application import Answers, application
from tuner.model.serving.loading import Made, Served
from tuner.model.serving.scheduler import Scheduler
from tuner.model.serving.server import Rules, made, scheduled
from tuner.serve.address import Address, listening

Hook = Callable[[np.ndarray], None]
ROW = 3


def by_hand(
    name: str = "m", batches: Sequence[int] = (1, 2, 4), hook: Hook = lambda x: None, instances: int = 1
) -> Served:
    """A model of rows of three; `hook` is called with the inputs of each run."""

    def at(batch: int) -> Made:
        outputs = np.zeros((batch, ROW), np.float32), np.zeros((batch, ROW), bool)

        def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            assert inputs["x"].shape == (batch, ROW)
            hook(inputs["x"])
            np.copyto(outputs[0], 3 * inputs["x"] + 1)
            np.copyto(outputs[1], inputs["x"] > 0)
            return list(outputs)

        values = {
            "x": Value("x", (batch, ROW), "float32", 4),
            "y": Value("y", (batch, ROW), "float32", 4),
            "sign": Value("sign", (batch, ROW), "bool", 1),
        }
        return Made(Graph(Path("m"), [], values, ["x"], ["y", "sign"], frozenset(), {}), run, "NumPy")

    first, *others = ({batch: at(batch) for batch in batches} for _ in range(instances))
    return Served(name, Path("m.onnx"), first, others=others)


@contextmanager
def started(*models: Served, **rules: Any) -> Iterator[Scheduler]:
    """A scheduler that runs."""
    scheduler = scheduled(models, Rules(**rules))
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.drain()
        assert scheduler.join(10)


@contextmanager
def asked(*models: Served, **rules: Any) -> Iterator[TestClient]:
    """A client of the application, without a network."""
    with started(*models, **rules) as scheduler:
        yield TestClient(application(Answers(scheduler, "0")), raise_server_exceptions=False)


class Running:
    """A server that listens; `end` has it drain as a signal does."""

    def __init__(self, scheduler: Scheduler, token: str | None = None) -> None:
        address = Address("127.0.0.1", 0, token)
        self._socket: socket.socket = listening(address)
        self.where = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.scheduler, self._server = scheduler, made(scheduler, address, "0")
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def end(self) -> None:
        self._server.should_exit = True
        self.scheduler.drain()

    def ended(self) -> bool:
        self._thread.join(30)
        return not self._thread.is_alive()


@contextmanager
def running(*models: Served, token: str | None = None, **rules: Any) -> Iterator[Running]:
    """A server on a port of its own."""
    with started(*models, **rules) as scheduler:
        server = Running(scheduler, token)
        try:
            yield server
        finally:
            server.end()
            assert server.ended()
