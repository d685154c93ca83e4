"""Connections that hold no more than they may: so many of them, and no request that never comes."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 512
# Seconds in which a request's headers have to be there, and in which an answer has to be read.
HEADERS_S, ANSWER_S = 10.0, 60.0


def _raw(status: str, text: str) -> bytes:
    body = json.dumps({"error": text}).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    more = "retry-after: 1\r\n" if status.startswith("503") else ""
    return f"{head}{more}connection: close\r\n\r\n".encode() + body


class Connection(H11Protocol):
    """uvicorn's, with limits and with errors as the protocol has them."""

    _watch: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Takes a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_raw("503 Service Unavailable", "too many connections: ask again later"))
            transport.close()
            return
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Reads; what begins a request has to go on."""
        super().data_received(data)
        if self._between():
            if self._watch is None:
                self._expect_headers()
        else:
            self._cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the timers."""
        self._cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read what it asked for."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(ANSWER_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What was sent is no HTTP; behind a request that is being answered, its answer ends there."""
        if self._between():
            self.transport.write(_raw("400 Bad Request", msg))
        self.transport.close()

    def _between(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        self._watch = self.loop.call_later(HEADERS_S, self._end_if_none)

    def _end_if_none(self) -> None:
        self._watch = None
        if self._between() and not self.transport.is_closing():
            self.transport.close()

    def _cancel(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
