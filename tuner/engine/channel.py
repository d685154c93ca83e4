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


class ChannelClosed(Exception):
    """The other side is gone."""


class ChannelGarbage(Exception):
    """The other side sent something that is not a message."""


class Channel:
    """One end of a conversation in JSON messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

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
        body = self._exactly(length, deadline)
        try:
            return json.loads(body)
        except ValueError as error:
            raise ChannelGarbage(str(error)) from None

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
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                    raise TimeoutError
            try:
                part = self._socket.recv(min(1 << 20, size - len(parts)))
            except OSError:
                raise ChannelClosed from None
            if not part:
                raise ChannelClosed
            parts += part
        return bytes(parts)

    def close(self) -> None:
        """Ends the conversation."""
        self._socket.close()
