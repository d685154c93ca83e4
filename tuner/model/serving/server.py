"""Runs the server of models until it is told to end, which it does when all it has taken in is answered."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn

from tuner.core.errors import TunerError, UnknownName
from tuner.model.serving.application import Answers, application
from tuner.model.serving.connections import connections_of
from tuner.model.serving.direct import Direct
from tuner.model.serving.loading import Served
from tuner.model.serving.scheduler import Scheduler
from tuner.model.serving.waiting import Waiting
from tuner.serve.address import Address
from tuner.serve.guard import Guard

# Seconds in which requests that were taken in are answered once the server has to end.
DRAIN_S = 30
# Seconds in which a thread that holds Python's lock gives it up to one that wants it. A model run by kernels
# wants it between any two of them, while all cores wait.
SWITCH_S = 0.0005


@dataclass(frozen=True)
class Rules:
    """How requests wait.

    Attributes:
        delay_s: for which a request waits for others to fill its batch.
        queue: rows that may wait for each model; at least two of its batches may.
        shares: of the machine's time, by the model's name; 1 for those that are not named.
        instances: that each model was made with: so many batches run at a time.
    """

    delay_s: float = 0.001
    queue: int = 256
    shares: Mapping[str, float] = field(default_factory=dict)
    instances: int = 1


def scheduled(models: Sequence[Served], rules: Rules) -> Scheduler:
    """The models with their queues; not yet started.

    Raises:
        UnknownName: a share is of no model.
        TunerError: two models have one name.
    """
    names = [model.name for model in models]
    for name in rules.shares:
        if name not in names:
            raise UnknownName("model", name, names)
    for name in names:
        if names.count(name) > 1:
            raise TunerError(f"two models are called {name}: give one another name, as NAME=MODEL.onnx")
    return Scheduler(
        {
            m.name: Waiting(m, rules.shares.get(m.name, 1.0),
                            max(rules.queue, 2 * m.signature.most_rows), rules.delay_s)
            for m in models
        },
        rules.instances,
    )  # fmt: skip


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to `serve`: uvicorn raises them again when it has ended, here the exit code is 0."""
        yield


def serve(
    scheduler: Scheduler, found: socket.socket, address: Address, version: str, ready: Callable[[], None]
) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP; a second one ends it at once.

    Args:
        scheduler: with the models, not yet started.
        found: a socket that listens.
        address: where it listens, and who is let in.
        version: of the server, as it says itself.
        ready: called when requests are answered.
    """
    # What is loaded stays: the collector need not look through it while requests wait.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
    scheduler.start()
    try:
        asyncio.run(_serve(scheduler, found, address, version, ready))
    finally:
        scheduler.drain()
        scheduler.join(1.0)


def made(scheduler: Scheduler, address: Address, version: str) -> uvicorn.Server:
    """The server of a scheduler's models, not yet running."""
    names = frozenset({"localhost", socket.gethostname(), address.host.strip("[]"), *address.names})
    answers = Answers(scheduler, version)
    guarded = Guard(application(answers), names, address.token, frozenset({"GET", "POST"}), pages=False)
    return _Server(
        uvicorn.Config(
            guarded,
            http=connections_of(Direct(scheduler, answers.intake, guarded)),
            log_level="error",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=DRAIN_S,
            proxy_headers=False,
            ws="none",
        )
    )


async def _serve(
    scheduler: Scheduler, found: socket.socket, address: Address, version: str, ready: Callable[[], None]
) -> None:
    server = made(scheduler, address, version)

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        scheduler.drain()

    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
    ready()
    await server.serve(sockets=[found])
