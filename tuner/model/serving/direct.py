"""Inferences read from the socket into the memory that the model's inputs are views of.

Of a plain request to infer, the head is read here; the rest of its body is received in place, and the answer
is written from a callback. No task, no queue of pieces and no copy lies between. Every other request, and
every head with something unusual in it, is left to uvicorn and the application, which say what is wrong.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from tuner.model.serving import intake, protocol
from tuner.model.serving.handover import Handover
from tuner.model.serving.intake import Intake
from tuner.model.serving.protocol import HEADER, Refused
from tuner.model.serving.refusals import body_of, crashed, headers_of, late_body, no_answer, no_memory
from tuner.model.serving.scheduler import Scheduler
from tuner.model.serving.waiting import Job, Outcome, Waiting
from tuner.serve.guard import FIXED_HEADERS, Guard

_MOST_HEAD = 2**14
# Heads that are kept as they were read: how many, and how long each.
_MOST_KNOWN, _MOST_KNOWN_BYTES = 256, 2**11
_FIRST = re.compile(rb"POST /v2/models/([A-Za-z0-9_.-]+)(?:/versions/([A-Za-z0-9_.-]+))?/infer HTTP/1\.1")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\x20-\x7e\t]*")
# What these say changes how a body or an answer is read; only one value of each is plain.
_PLAIN = {"connection": "keep-alive", "content-encoding": "identity"}
_UNUSUAL = frozenset({"transfer-encoding", "expect", "upgrade", "te", "trailer"})
_FIXED = "".join(f"{name}: {value}\r\n" for name, value in FIXED_HEADERS.items()).encode()


@dataclass(frozen=True)
class Head:
    """Of a plain request to infer.

    Attributes:
        waiting: the model.
        end: bytes of the head.
        length: of the body.
        header_bytes: of its JSON; `None`: all is JSON.
    """

    waiting: Waiting
    end: int
    length: int
    header_bytes: int | None


class Direct:
    """Reads heads, and has what all inferences share.

    Args:
        scheduler: runs them.
        counted: the bytes of all bodies.
        guard: says who is let in.
    """

    def __init__(self, scheduler: Scheduler, counted: Intake, guard: Guard) -> None:
        self.scheduler, self.intake, self._guard = scheduler, counted, guard
        self._handover: Handover | None = None
        self._known: dict[bytes, Head] = {}

    def handover(self, loop: asyncio.AbstractEventLoop) -> Handover:
        """To this loop, which is the server's."""
        if self._handover is None:
            self._handover = Handover(loop)
        return self._handover

    def head(self, data: bytes) -> Head | None:
        """The head that the data begin with; `None` where it is not whole, not plain, or to be refused."""
        end = data.find(b"\r\n\r\n", 0, _MOST_HEAD)
        if end < 0 or not data.startswith(b"POST "):
            return None
        text = data[:end]
        found = self._known.get(text)
        if found is None and (found := self._read(text)) is not None and end <= _MOST_KNOWN_BYTES:
            # A client's next request mostly has the very same head: what it says does not change.
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[text] = found
        return found

    def _read(self, text: bytes) -> Head | None:
        first, *lines = text.split(b"\r\n")
        asked = _FIRST.fullmatch(first)
        waiting = self.scheduler.models.get(asked[1].decode()) if asked else None
        if asked is None or waiting is None or (asked[2] or b"1").decode() != waiting.model.version:
            return None
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            value = value.strip(b" \t")
            if not (colon and _NAME.fullmatch(name) and _VALUE.fullmatch(value)):
                return None
            key = name.decode().lower()
            if key in headers or key in _UNUSUAL:
                return None
            headers[key] = value.decode()
        if any(headers.get(name, plain).lower() != plain for name, plain in _PLAIN.items()):
            return None
        length, header_bytes = _number(headers, "content-length"), _number(headers, HEADER)
        most = waiting.model.signature.most_body
        if length is None or not 0 < length <= most or (HEADER in headers and header_bytes is None):
            return None
        if not self._guard.admits("POST", headers):
            return None
        return Head(waiting, len(text) + 4, length, header_bytes)


def _number(headers: Mapping[str, str], name: str) -> int | None:
    given = headers.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) <= 20 else None


class Inference:
    """One request, from its head to its answer; all on the event loop's thread.

    Args:
        direct: what inferences share.
        head: of this one.
        loop: that runs this.
        headers: of every answer of the server.
        answer: is given the whole answer, and whether the connection ends with it.

    Attributes:
        reading: whether the body is not all there.
    """

    def __init__(
        self, direct: Direct, head: Head, loop: asyncio.AbstractEventLoop,
        headers: Iterable[tuple[bytes, bytes]], answer: Callable[[bytes, bool], None],
    ) -> None:  # fmt: skip
        self._direct, self._head, self._loop, self._answer = direct, head, loop, answer
        self._headers = headers
        self._came_s = time.monotonic()
        # Behind the JSON the numbers begin at a multiple of a cache line.
        self._memory = direct.intake.memory(head.length, head.header_bytes or 0)
        self._got, self._over, self.reading = 0, False, True
        self._job: Job | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, data: bytes) -> None:
        """Takes what of the body came with the head."""
        self._memory[: len(data)] = data
        if len(data) < self._head.length:
            self._timer = self._loop.call_later(intake.BODY_S, self._late)
        self.came(len(data))

    def room(self) -> memoryview:
        """Where the rest of the body belongs."""
        return self._memory[self._got :]

    def came(self, size: int) -> None:
        """So many bytes more are there."""
        counted = self._direct.intake
        if counted.held + size > counted.most:
            self._head.waiting.statistics.refused("memory")
            self._refuse(no_memory())
            return
        counted.held += size
        self._got += size
        if self._got == self._head.length:
            self.reading = False
            self._cancel()
            try:
                self._whole()
            except Refused as why:
                self._refuse(why)
            except Exception:
                self._crash()

    def gone(self) -> None:
        """The client is; nobody reads an answer."""
        if not self._over:
            self._head.waiting.statistics.refused("gone")
            self._end(False)

    def _late(self) -> None:
        self._head.waiting.statistics.refused("invalid")
        self._refuse(late_body(intake.BODY_S))

    def _whole(self) -> None:
        """The body is all there: it is read, and waits for its turn."""
        waiting, header_bytes = self._head.waiting, self._head.header_bytes
        try:
            asked = protocol.parse(waiting.model.signature, self._memory, header_bytes)
        except Refused:
            waiting.statistics.refused("invalid")
            raise
        handover = self._direct.handover(self._loop)

        def settle(found: Outcome) -> None:
            self._settle(asked, found)

        job = Job(asked.arrays, asked.rows, lambda found: handover.put(settle, found))
        try:
            self._direct.scheduler.submit(waiting, job)
        except Refused as why:
            waiting.statistics.refused("queue" if why.status == 429 else "draining")
            raise
        self._job = job
        if asked.timeout_s is not None:
            left = max(0.0, self._came_s + asked.timeout_s - time.monotonic())
            self._timer = self._loop.call_later(left, self._expire, asked.timeout_s)

    def _expire(self, timeout_s: float) -> None:
        self._head.waiting.statistics.refused("timeout")
        self._refuse(no_answer(timeout_s))

    def _settle(self, asked: protocol.Request, found: Outcome) -> None:
        if self._over:
            return
        try:
            if isinstance(found, Exception):
                raise found
            model = self._head.waiting.model
            pieces, json_bytes = protocol.answer(model.name, model.version, asked, found)
        except Refused as why:
            self._refuse(why, True)
            return
        except Exception:
            self._crash()
            return
        self._end(True)
        kind = "application/json" if json_bytes is None else "application/octet-stream"
        named = {"content-type": kind}
        if json_bytes is not None:
            named[HEADER] = str(json_bytes)
        self._write(200, named, pieces)

    def _refuse(self, why: Refused, ran: bool = False) -> None:
        self._end(ran)
        named = headers_of(why)
        self._write(why.status, named, [body_of(why)], "connection" in named)

    def _crash(self) -> None:
        logging.getLogger("uvicorn.error").exception("an inference failed")
        self._refuse(crashed())

    def _write(self, status: int, named: Mapping[str, str], pieces: list[bytes], close: bool = False) -> None:
        own = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        usual = b"".join(b"%s: %s\r\n" % header for header in self._headers)
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{own}"
        size = sum(map(len, pieces))
        start = head.encode("latin-1") + usual + _FIXED + b"content-length: %d\r\n\r\n" % size
        self._answer(b"".join([start, *pieces]), close)

    def _end(self, ran: bool) -> None:
        """Gives back what it holds; where it has not run, a batch may still read its memory."""
        self._over, self.reading = True, False
        self._cancel()
        if self._job is not None and not ran:
            self._direct.scheduler.drop(self._head.waiting, self._job)
        self._direct.intake.release(self._got)
        if ran:
            self._direct.intake.back(self._memory)
        self._job, self._memory = None, memoryview(b"")

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
