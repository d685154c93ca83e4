"""Clients of a model's server that ask again as soon as they are answered, and cost as little as they can.

Each client is a thread with a connection of its own: one call sends the request that was made ahead, one or
two read the answer. On the server's own machine what clients cost is taken from the server: it is counted.
"""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np

from tuner.model.comparing import difference
from tuner.model.load.http import Answer, Broken
from tuner.model.load.target import HEADER, Body, arrays_of, error_of

_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Asked:
    """A request ready to be sent, and what has to come back.

    Attributes:
        data: head and body.
        right: the outputs; `None` where only the status is looked at.
    """

    data: bytes
    right: Sequence[np.ndarray] | None = None


def made(host: str, port: int, model: str, body: Body, right: Sequence[np.ndarray] | None = None) -> Asked:
    """A request to a model, with the answer that it has to get."""
    head = (
        f"POST /v2/models/{quote(model)}/infer HTTP/1.1\r\nhost: {host}:{port}\r\n"
        f"{HEADER}: {body.header_bytes}\r\ncontent-length: {len(body.data)}\r\n\r\n"
    )
    return Asked(head.encode() + body.data, right)


@dataclass
class Ran:
    """What became of the requests of all clients.

    Attributes:
        ended_s: when each was answered, seconds from the beginning, ascending.
        wrong: answers that are another request's, or nobody's.
        failed: reasons of other errors, with how many.
        client_cpu_s: seconds of a core that the clients took.
    """

    ended_s: list[float] = field(default_factory=list)
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    client_cpu_s: float = 0.0

    def per_second(self, most: int) -> float:
        """Answers a second once the first `most` of them have come; NaN for fewer than twice as many."""
        if len(self.ended_s) < 2 * most:
            return float("nan")
        return (len(self.ended_s) - most) / (self.ended_s[-1] - self.ended_s[most - 1])


class ClientConnection:
    """A kept connection that asks one thing at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), _PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = bytearray()

    def ask(self, data: bytes) -> Answer:
        """Sends a request and reads the next answer; what comes behind it is the one after.

        Raises:
            OSError, Broken: there is none.
        """
        self._socket.sendall(data)
        came = self._rest
        while (end := came.find(b"\r\n\r\n")) < 0:
            came += self._some()
        first, *lines = bytes(came[:end]).decode("latin-1").split("\r\n")
        headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        whole = end + 4 + int(headers.get("content-length", "0"))
        while len(came) < whole:
            came += self._some()
        body, self._rest = bytes(came[end + 4 : whole]), came[whole:]
        return Answer(int(first.split()[1]), headers, body)

    def _some(self) -> bytes:
        more = self._socket.recv(2**18)
        if not more:
            raise Broken("the connection ended")
        return more

    def close(self) -> None:
        """Ends it."""
        self._socket.close()


def run(host: str, port: int, clients: Sequence[Sequence[Asked]], until: Callable[[int, float], bool]) -> Ran:
    """Has each client ask its requests in turn.

    Args:
        host, port: of the server.
        clients: requests of each.
        until: whether a client that has asked so often, so many seconds after the beginning, is to end.
    """
    found, lock = Ran(), threading.Lock()
    begin = threading.Barrier(len(clients) + 1)
    started = [0.0]

    def work(requests: Sequence[Asked]) -> None:
        ended, wrong, failed = list[float](), 0, Counter[str]()
        connection = None
        try:
            connection = ClientConnection(host, port)
        except OSError as error:
            failed[str(error)] += 1
        begin.wait()
        asked = 0
        while connection is not None and not until(asked, time.perf_counter() - started[0]):
            one = requests[asked % len(requests)]
            asked += 1
            try:
                answer = connection.ask(one.data)
            except (OSError, Broken, ValueError) as error:
                failed[str(error)[:150] or type(error).__name__] += 1
                break
            if answer.status != 200:
                failed[f"status {answer.status}: {error_of(answer)}"] += 1
                continue
            ended.append(time.perf_counter() - started[0])
            if one.right is not None:
                wrong += not _is_right(answer, one.right)
        if connection is not None:
            connection.close()
        with lock:
            found.ended_s += ended
            found.wrong += wrong
            found.failed += failed

    threads = [threading.Thread(target=work, args=(requests,)) for requests in clients]
    for thread in threads:
        thread.start()
    cpu, started[0] = time.process_time(), time.perf_counter()
    begin.wait()
    for thread in threads:
        thread.join()
    found.client_cpu_s = time.process_time() - cpu
    found.ended_s.sort()
    return found


def _is_right(answer: Answer, right: Sequence[np.ndarray]) -> bool:
    try:
        return difference(arrays_of(answer), right) <= 1
    except (Broken, ValueError, TypeError):
        return False
