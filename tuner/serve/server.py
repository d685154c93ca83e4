"""Runs the server until it is told to end, which it does at once."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from tuner.core.errors import TunerError
from tuner.serve import rendering
from tuner.serve.address import Address
from tuner.serve.application import application
from tuner.serve.database import Database
from tuner.serve.guard import Guard
from tuner.serve.sources import digests


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to `serve`: uvicorn's own way waits for streams that have no end."""
        yield


def serve(database: Database, found: socket.socket, address: Address, ready: Callable[[], None]) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP, then ends at once.

    Args:
        ready: called when requests are answered.
    """
    asyncio.run(_serve(database, found, address, ready))


async def _serve(
    database: Database, found: socket.socket, address: Address, ready: Callable[[], None]
) -> None:
    app = application(database)
    names = frozenset({"localhost", socket.gethostname(), address.host.strip("[]"), *address.names})
    server = _Server(
        uvicorn.Config(
            Guard(app, names, address.token),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=True,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
            proxy_headers=False,
            ws="none",
        )
    )

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        app.state.feed.close()
        app.state.maker.close()

    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
    warm = asyncio.create_task(asyncio.to_thread(_warm, database))
    ready()
    await server.serve(sockets=[found])
    warm.cancel()


def _warm(database: Database) -> None:
    """Does once what the first pages would wait for; what fails here fails there again, and says so."""
    with suppress(TunerError), database.look():
        pass
    with suppress(TunerError):
        digests()
    with suppress(TunerError, OSError):
        rendering.static("vega.js")
