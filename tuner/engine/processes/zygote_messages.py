"""What the lab and a zygote say to each other: a job or a farewell one way, news of children the other."""

import os
import signal
import socket
import struct
from collections.abc import Sequence

STATUS = struct.Struct("<qq")
"""(0, process id) after a fork, (1, wait status) at the end."""
NO_FORK = 2
"""(2, errno) in place of both: there is no process to be had."""
SWEEP = signal.SIGUSR1
"""Asks a zygote to end orphans now."""
_LENGTH = struct.Struct("<q")
_FAREWELL = _LENGTH.pack(-1)


class Farewell(Exception):
    """The lab ends the zygote in good order, and removes its folder itself."""


def send(control: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
    """Sends a message; descriptors travel with the first byte of its length."""
    # In one call where it goes: half a message is of no use to anybody.
    whole = _LENGTH.pack(len(message)) + message
    sent = socket.send_fds(control, [whole], list(descriptors))
    if sent < len(whole):
        control.sendall(whole[sent:])


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """The next message and its descriptors.

    Raises:
        EOFError: the lab is gone.
        Farewell: it said that it goes.
    """
    header, descriptors, _, _ = socket.recv_fds(control, 8, 2)
    if len(header) < 8:
        raise EOFError
    if header == _FAREWELL:
        raise Farewell
    (length,) = _LENGTH.unpack(header)
    message = bytearray()
    while len(message) < length:
        part = control.recv(min(1 << 20, length - len(message)))
        if not part:
            raise EOFError
        message += part
    return bytes(message), list(descriptors)


def say_farewell(control: socket.socket) -> None:
    """Sends a farewell and closes the socket."""
    try:
        control.send(_FAREWELL, socket.MSG_DONTWAIT)
    except OSError:
        pass  # the zygote is dead, or the socket closed already
    control.close()


def farewell_waits(control: socket.socket) -> bool:
    """Whether a farewell is what is read next."""
    try:
        return control.recv(8, socket.MSG_PEEK | socket.MSG_DONTWAIT) == _FAREWELL
    except OSError:
        return False


def sweep(zygote: int) -> None:
    """Has the zygote with this process id end orphans."""
    try:
        os.kill(zygote, SWEEP)
    except ProcessLookupError:
        pass  # it died, and is replaced when it is needed
