"""A small HTTP client: kept connections, as many as there are requests at a time, none waits for another."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tuner.core.brief import brief
from tuner.core.errors import TunerError

MOST_CONNECTIONS = 400
_MOST_HEADERS, _MOST_BODY = 100, 2**30


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        status: of HTTP.
        headers: by their names in lower case.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Broken(Exception):
    """A connection ended before the answer was whole, or it is none of HTTP."""


class Client:
    """Connections to one server.

    Args:
        url: `http://host:port`; a path `/v2` behind it is the protocol's own and left out.
        token: that the server wants, if it wants one.

    Raises:
        TunerError: the URL is none.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or parts.scheme != "http" or parts.path.rstrip("/") not in ("", "/v2") or parts.query:
            raise TunerError(f"{brief(url, 100)}: give a server's address, as http://127.0.0.1:8000")
        self.host, self.port = host, port or 80
        name = f"[{host}]" if ":" in host else host
        self.where = f"http://{name}:{self.port}"
        self._head = f"Host: {name}:{self.port}\r\n"
        if token is not None:
            if not all(33 <= ord(c) < 127 for c in token):
                raise TunerError("the token has to be of letters, digits or signs")
            self._head += f"Authorization: Bearer {token}\r\n"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request and its answer.

        Raises:
            OSError, Broken: the server cannot be reached, or does not answer to the end.
        """
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"{method} {path} HTTP/1.1\r\n{self._head}{more}Content-Length: {len(body)}\r\n\r\n".encode()
        async with self._room:
            while self._idle:
                reader, writer = self._idle.pop()
                if not writer.is_closing() and not reader.at_eof():
                    break
                writer.close()
            else:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            kept = False
            try:
                writer.write(head + body)
                await writer.drain()
                answer = await _read(reader)
                kept = answer.headers.get("connection", "").lower() != "close"
                return answer
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
                raise Broken(f"the answer is not whole: {brief(str(error), 100)}") from None
            finally:
                if kept:
                    self._idle.append((reader, writer))
                else:
                    writer.close()

    def close(self) -> None:
        """Ends the connections that are not in use."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def _read(reader: asyncio.StreamReader) -> Answer:
    first = (await reader.readuntil(b"\r\n")).split(b" ", 2)
    status = int(first[1])
    headers: dict[str, str] = {}
    for _ in range(_MOST_HEADERS):
        line = (await reader.readuntil(b"\r\n")).decode("latin-1").strip()
        if not line:
            break
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    else:
        raise Broken("too many headers")
    length = int(headers.get("content-length", "-1"))
    if not 0 <= length <= _MOST_BODY:
        raise Broken("no content-length")
    return Answer(status, headers, await reader.readexactly(length))
