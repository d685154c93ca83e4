"""Bodies of requests, read in bounded memory and time."""

import asyncio

import numpy as np
from starlette.requests import Request

from tuner.model.serving.protocol import HEADER, Refused
from tuner.model.serving.refusals import late_body, no_memory

# Seconds in which a body has to be there.
BODY_S = 30.0
# Of a body that is refused so much is read and dropped, so that a client that sends first and reads then
# finds the answer.
_DROPPED = 2**24
# Memory of bodies is used again: fresh pages cost more than what is read into them. Bytes that are kept.
_KEPT, _LEAST_KEPT = 2**26, 2**12
_ALIGNED = 64


class Intake:
    """Counts the bytes of all requests that are being read or wait.

    Args:
        most: of them.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._spare: dict[int, list[memoryview]] = {}
        self._kept = 0

    async def read(self, request: Request, most: int) -> bytes:
        """A body; its bytes stay counted until `release`.

        Args:
            request: whose.
            most: bytes that it may have.

        Raises:
            Refused: 413 for more, 408 for one that does not come, 503 where other requests hold the memory,
                400 for one in another encoding.
            ClientDisconnect: the client is gone.
        """
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(400, "bodies are taken as they are: send none with Content-Encoding")
        pieces: list[bytes] = []
        try:
            # One limit for reading and dropping: the clock of a slow client runs on.
            async with asyncio.timeout(BODY_S):
                why = await self._take(request, most, pieces)
            if why:
                raise Refused(413, why)
            return b"".join(pieces)
        except BaseException as error:
            self.held -= sum(map(len, pieces))
            if isinstance(error, TimeoutError):
                raise late_body(BODY_S) from None
            raise

    async def _take(self, request: Request, most: int, pieces: list[bytes]) -> str:
        """Adds a body's pieces, which are counted; why it is too large, then it is not all there."""
        said, size, why = _number(request, "content-length"), 0, ""
        if said is not None and said > most:
            why = f"a body of {said} bytes: this model's largest request has {most}"
            if said > most + _DROPPED:
                return why
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                why = why or f"a body of more than {most} bytes: so many has this model's largest request"
            if size > most + _DROPPED:
                return why
            if why:
                continue
            if self.held + len(piece) > self.most:
                raise no_memory()
            self.held += len(piece)
            pieces.append(piece)
        return why

    def memory(self, size: int, before: int) -> memoryview:
        """Memory for a body; so many bytes behind its beginning lies a multiple of a cache line."""
        if spare := self._spare.get(size):
            self._kept -= size
            whole = spare.pop()
        else:
            # Pages that nothing is read into are never there: a length that is only claimed costs nothing.
            whole = np.empty(size + 2 * _ALIGNED, np.uint8).data
        begin = -(np.frombuffer(whole, np.uint8).ctypes.data + before) % _ALIGNED
        return whole[begin : begin + size]

    def back(self, memory: memoryview) -> None:
        """Takes a body's memory that nobody reads any more, for another one of its size."""
        size = len(memory)
        if not _LEAST_KEPT <= size <= _KEPT:
            return
        if self._kept + size > _KEPT:
            self._spare.clear()
            self._kept = 0
        base = memory.obj
        assert isinstance(base, np.ndarray)
        self._kept += size
        self._spare.setdefault(size, []).append(base.data)

    def release(self, size: int) -> None:
        """Gives back the bytes of a body."""
        self.held -= size


def header_bytes(request: Request) -> int | None:
    """What `Inference-Header-Content-Length` says; `None`: the body is all JSON.

    Raises:
        Refused: it is no number.
    """
    return _number(request, HEADER)


def _number(request: Request, name: str) -> int | None:
    given = request.headers.get(name)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 20):
        raise Refused(400, f"the header {name} has to be a number of bytes")
    return int(given)
