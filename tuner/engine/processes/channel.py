"""Messages between the lab and a child that may be broken: JSON only, framed by length.

A child runs code that may have overwritten its memory, so what it says is parsed, never unpickled.
"""

import json
import select
import socket
import struct
import time
from typing import Any

_HEADER = struct.Struct("<I")
MAX_MESSAGE = 64 * 2**20
# An answer has some hundred lists; the longest messages are texts. 64 MiB of `[],[],...` would take 1.4 GB.
_MOST_VALUES = 1_000_000


class ChannelClosed(Exception):
    """The other side is gone."""


class ChannelGarbage(Exception):
    """The other side sent something that is not a message."""


def decode(body: bytes) -> Any:
    """The message of a frame's bytes.

    Raises:
        ChannelGarbage: it is not JSON, nests too deeply, or holds more values than any message has.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_VALUES:
        raise ChannelGarbage(f"a message of more than {_MOST_VALUES:,} values")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ChannelGarbage(str(error)) from None


class Channel:
    """One end of a conversation in JSON messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._end: int | None = None

    def ends_with(self, descriptor: int) -> None:
        """The other side is gone too when `descriptor` becomes readable.

        Its socket alone does not tell: what a dead child forked holds it open.
        """
        self._end = descriptor

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, message: Any) -> None:
        """Sends one message; raises `ChannelClosed`."""
        body = json.dumps(message).encode()
        try:
            self._socket.sendall(_HEADER.pack(len(body)) + body)
        except OSError:
            raise ChannelClosed from None

    def receive(self, timeout: float | None = None) -> Any:
        """The next message.

        Raises:
            TimeoutError: it did not come whole within `timeout` seconds.
            ChannelClosed: the other side is gone.
            ChannelGarbage: what came is not a message.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        (length,) = _HEADER.unpack(self._exactly(_HEADER.size, deadline))
        if length > MAX_MESSAGE:
            raise ChannelGarbage(f"a message of {length} bytes")
        return decode(self._exactly(length, deadline))

    def send_descriptor(self, descriptor: int) -> None:
        """Hands an open file to the other side; raises `ChannelClosed`."""
        try:
            socket.send_fds(self._socket, [b"d"], [descriptor])
        except OSError:
            raise ChannelClosed from None

    def receive_descriptor(self) -> int:
        """The open file that was handed over; raises `ChannelClosed`, `ChannelGarbage`."""
        try:
            _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        except OSError:
            raise ChannelClosed from None
        if not descriptors:
            raise ChannelGarbage("no open file came")
        return int(descriptors[0])

    def _exactly(self, size: int, deadline: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            self._wait(deadline)
            try:
                part = self._socket.recv(min(1 << 20, size - len(parts)))
            except OSError:
                raise ChannelClosed from None
            if not part:
                raise ChannelClosed
            parts += part
        return bytes(parts)

    def _wait(self, deadline: float | None) -> None:
        """Until something can be read; raises `TimeoutError` or `ChannelClosed`."""
        if deadline is None and self._end is None:
            return
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if self._end is not None:
            poll.register(self._end, select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = [descriptor for descriptor, _ in poll.poll(None if left is None else left * 1000)]
        if not ready:
            raise TimeoutError
        if self._socket.fileno() not in ready:
            # What it said before its end is still to be read, and first.
            poll.unregister(self._end or 0)
            if not poll.poll(0):
                raise ChannelClosed

    def close(self) -> None:
        """Ends the conversation."""
        self._end = None
        self._socket.close()
