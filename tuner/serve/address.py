"""Where a server of the lab listens, and who is let in."""

import socket
from dataclasses import dataclass

from tuner.core.errors import TunerError
from tuner.serve.guard import LEAST_TOKEN, is_loopback

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
    # With the protocol named, asyncio has answers sent at once; else their last piece waits 40 ms for the
    # client to acknowledge the first (Nagle's algorithm with delayed acknowledgements).
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
