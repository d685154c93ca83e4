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
