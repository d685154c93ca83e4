"""Runs the server until it is told to end, which it does at once."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import uvicorn

from tuner.core.errors import TunerError
from tuner.serve import rendering
from tuner.serve.application import application
from tuner.serve.database import Database
from tuner.serve.guard import LEAST_TOKEN, Guard, is_loopback
from tuner.serve.sources import digests

PORT = 8427


@dataclass(frozen=True)
class Address:
    """Where to listen, and who is let in.

    Attributes:
        host: an address, or a name of this machine.
        port: 0 for a free one.
        token: that requests must bring; needed for any address but a loopback one.
        names: further host names that browsers use for this server.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str | None = None
    names: tuple[str, ...] = ()


def listening(address: Address) -> socket.socket:
    """A socket that listens.

    Raises:
        TunerError: the address needs a token, the port is taken, or the host is not of this machine.
    """
    if not is_loopback(address.host) and address.token is None:
        raise TunerError(
            f"--host {address.host} can be reached by others: give a token with --token, or in "
            "TUNER_SERVE_TOKEN (--token new makes one)"
        )
    if address.token is not None and (
        len(address.token) < LEAST_TOKEN or not all(33 <= ord(c) < 127 for c in address.token)
    ):
        raise TunerError(
            f"the token has to be of at least {LEAST_TOKEN} letters, digits or signs: --token new makes one"
        )
    try:
        family, _, _, _, where = socket.getaddrinfo(
            address.host.strip("[]"), address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise TunerError(
            f"--host {address.host}: there is no such host: give an address of this machine"
        ) from None
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(where)
        found.listen(128)
    except OSError as error:
        found.close()
        if isinstance(error, PermissionError):
            raise TunerError(
                f"port {address.port} may not be opened: give one above 1023 with --port"
            ) from None
        raise TunerError(
            f"cannot listen on {address.host}, port {address.port}: "
            f"{(error.strerror or str(error)).lower()}: end the program that has it, or give another with "
            "--port (0: any free one)"
        ) from None
    return found


def url_of(found: socket.socket, address: Address) -> str:
    """Where a browser finds the server; without the token."""
    host, port = address.host.strip("[]"), found.getsockname()[1]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


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
