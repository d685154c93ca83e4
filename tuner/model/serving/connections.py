"""Connections that hold no more than they may: so many of them, and no request that never comes."""

import asyncio
import json
import socket
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tuner.model.serving.direct import Direct, Head, Inference

MOST_CONNECTIONS = 512
# Seconds in which a request's headers have to be there, and in which an answer has to be read.
HEADERS_S, ANSWER_S = 10.0, 60.0
# Bytes that may wait behind a request that is being answered. A body that lacks fewer is read as it comes.
_PIECE = 2**16
# Bytes that are read at a time outside of bodies: a head, and the beginning of its body, which is copied.
_SCRATCH = 2**14
# Bytes of a body for which the loop is woken once: waking costs more than copying a piece. Linux enlarges the
# socket's buffer for them (tcp_set_rcvlowat); elsewhere a buffer that is too small would never wake the loop.
_AT_A_TIME = 2**20 if sys.platform == "linux" else 1


def _raw(status: str, text: str) -> bytes:
    body = json.dumps({"error": text}).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    more = "retry-after: 1\r\n" if status.startswith("503") else ""
    return f"{head}{more}connection: close\r\n\r\n".encode() + body


class Connection(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's, with limits and with errors as the protocol has them; plain inferences go past it.

    Attributes:
        direct: reads those.
    """

    direct: Direct
    # What is read here is copied before anything else is read: one is enough for all connections of a loop.
    _scratch: memoryview
    _watch: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _asked: Inference | None = None
    _later = b""
    _woken_at = 1
    _ending = False

    def connection_made(self, transport: Any) -> None:
        """Takes a connection, unless there are too many."""
        super().connection_made(transport)
        self._socket = transport.get_extra_info("socket")
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_raw("503 Service Unavailable", "too many connections: ask again later"))
            transport.close()
            return
        self._expect_headers()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong: a body's own memory, as soon as its head is known."""
        reads = self._asked is not None and self._asked.reading
        return self._asked.room() if self._asked is not None and reads else self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes are there."""
        if self._asked is not None and self._asked.reading:
            self._asked.came(nbytes)
            self._wake_at()
        else:
            self.data_received(bytes(self._scratch[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Reads; what begins a request has to go on."""
        if self._waits():
            self._later += data
            if len(self._later) > _PIECE:
                self.transport.pause_reading()
            return
        head = self.direct.head(data) if self._is_fresh() else None
        if head is not None:
            self._begin(head, data)
            return
        super().data_received(data)
        if self._between():
            if self._watch is None:
                self._expect_headers()
        else:
            self._cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the timers, and what is asked for."""
        self._cancel()
        self.resume_writing()
        if self._asked is not None:
            self._asked.gone()
            self._asked = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server ends: what is asked for is answered before."""
        if self._asked is None:
            super().shutdown()
        self._ending = True

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
        if self._later and self._asked is None:
            self.loop.call_soon(self._go_on)

    def send_400_response(self, msg: str) -> None:
        """What was sent is no HTTP; behind a request that is being answered, its answer ends there."""
        if self._between():
            self.transport.write(_raw("400 Bad Request", msg))
        self.transport.close()

    def _waits(self) -> bool:
        """Whether what comes now has to wait: for the requests before it, or for a client that does not read
        the answers to them, which pile up in memory."""
        return self._asked is not None or bool(self._later) or (self.flow.write_paused and self._between())

    def _is_fresh(self) -> bool:
        """Whether uvicorn has read nothing of a request."""
        idle = self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE
        return idle and self._between() and not self.conn.trailing_data[0]

    def _begin(self, head: Head, data: bytes) -> None:
        """A plain inference, and perhaps what follows it."""
        self._unset_keepalive_if_required()
        self._cancel()
        end = head.end + head.length
        self._later = data[end:]
        headers = self.server_state.default_headers
        self._asked = Inference(self.direct, head, self.loop, headers, self._answered)
        self._asked.begin(data[head.end : end])
        self._wake_at()

    def _wake_at(self) -> None:
        """Has the loop woken once the rest of a body, or a large piece, is there; else by anything."""
        left = len(self._asked.room()) if self._asked is not None and self._asked.reading else 1
        wanted = min(left, _AT_A_TIME) if left >= _PIECE else 1
        if wanted != self._woken_at and not self.transport.is_closing():
            self._woken_at = wanted
            # The end of the connection wakes the loop before, and so does the system where memory is short.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def _answered(self, answer: bytes, close: bool) -> None:
        self._asked = None
        self.transport.write(answer)
        if close or self._ending:
            self.transport.close()
            return
        self.on_response_complete()
        if self._later and not self.flow.write_paused:
            # Not from here: many short requests in one piece would go as deep as they are many.
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        data, self._later = self._later, b""
        if data and not self.transport.is_closing():
            self.transport.resume_reading()
            self.data_received(data)

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


def connections_of(server: Direct) -> type[Connection]:
    """The class of a server's connections, with what they share."""

    class Own(Connection):
        direct = server
        _scratch = memoryview(bytearray(_SCRATCH))

    return Own
