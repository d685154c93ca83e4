"""Inferences that go past uvicorn are answered as those that do not, whatever pieces they come in."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from tests.model.serving.made import Running, by_hand, running
from tuner.lab.closed_loop import ClientConnection
from tuner.model.load.http import Answer
from tuner.model.load.target import arrays_of
from tuner.model.serving import connections, direct

HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(by_hand(), delay_s=0) as found:
        yield found


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the bodies that went past uvicorn."""
    found: list[int] = []
    begin = direct.Inference.begin

    def noted(self: direct.Inference, data: bytes) -> None:
        found.append(self._head.length)
        begin(self, data)

    monkeypatch.setattr(direct.Inference, "begin", noted)
    return found


def binary(x: np.ndarray, *more: str, timeout_us: int = 0) -> bytes:
    """A request with binary inputs, its answer in binary too."""
    data = x.astype(np.float32).tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape),
              "parameters": {"binary_data_size": len(data)}}  # fmt: skip
    parameters = {"binary_data_output": True, "timeout": timeout_us}
    text = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    return posted(text + data, f"{HEADER}: {len(text)}", *more)


def posted(body: bytes, *more: str, path: str = "/v2/models/m/infer") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(server: Running, pieces: Sequence[bytes], count: int = 1) -> list[Answer]:
    """Sends pieces, a moment apart, and reads so many answers."""
    host, port = server.where.split(":")
    connection = ClientConnection(host, int(port))
    try:
        for piece in pieces[:-1]:
            connection._socket.sendall(piece)
            time.sleep(0.01)
        return [connection.ask(pieces[-1])] + [connection.ask(b"") for _ in range(count - 1)]
    finally:
        connection.close()


def test_a_request_is_read_in_place_and_answered_as_uvicorn_would(server: Running, begun: list[int]) -> None:
    x = np.arange(6).reshape(2, 3)
    (fast,) = answers(server, [binary(x)])
    assert len(begun) == 1
    (slow,) = answers(server, [binary(x, "TE: gzip")])
    assert len(begun) == 1, "what is unusual is left to uvicorn"
    assert fast.status == slow.status == 200 and fast.body == slow.body
    assert np.array_equal(arrays_of(fast)[0], 3 * x + 1)
    assert set(fast.headers) == set(slow.headers)
    for name in fast.headers.keys() - {"date"}:
        assert fast.headers[name] == slow.headers[name]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"inputs": []}', b'{"id": 3}', b'{"inputs": [{"name": "z"}]}', b"\xff\xfe",
     b'{"inputs": [{"name": "x", "shape": [9, 3], "datatype": "FP32", "data": []}]}'],
)  # fmt: skip
def test_errors_are_the_same_ones(server: Running, begun: list[int], body: bytes) -> None:
    (fast,), (slow,) = answers(server, [posted(body)]), answers(server, [posted(body, "TE: x")])
    assert len(begun) == 1
    assert fast.status == slow.status == 400 and fast.body == slow.body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (posted(b"{}", path="/v2/models/n/infer"), 404),
        (posted(b"{}", path="/v2/models/m/versions/2/infer"), 404),
        (posted(b"{}", "Content-Encoding: gzip"), 400),
        (posted(b"{}", "Content-Length: 5"), 400),
        (posted(b"{}", f"{HEADER}: -1"), 400),
        (posted(b"{}").replace(b"127.0.0.1", b"evil.example"), 421),
        (posted(b"{}", "Sec-Fetch-Site: cross-site"), 403),
        (posted(b"{}", "bad header: 1"), 400),
        (posted(b"{}", "none"), 400),
        (posted(b"{}", "a: b\n c"), 400),
    ],
)
def test_what_is_refused_by_its_head_is_left_to_uvicorn(
    server: Running, begun: list[int], request_: bytes, status: int
) -> None:
    (found,) = answers(server, [request_])
    assert found.status == status and "error" in json.loads(found.body) and not begun


def test_a_header_takes_no_more_time_than_it_is_long(server: Running) -> None:
    """It is read before the token is asked for. Were a space looked at as often as there are spaces, these
    heads would take minutes."""
    head = connection_of(server).direct.head
    bad, good = (posted(b"{}", "a:" + " " * 16_000 + end) for end in ("\x01", "b \t c \t"))
    assert not any(head(bad) for _ in range(1000))
    assert head(good) is not None and head(posted(b"{}", "a:")) is not None


def test_requests_behind_each_other_and_in_any_pieces(server: Running, begun: list[int]) -> None:
    wanted = [np.full((1 + number % 3, 3), number) for number in range(12)]
    chunked = posted(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    text = b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}'
    data = b"".join(map(binary, wanted)) + chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    data += binary(wanted[5])
    for size in (len(data), 1000, 333):
        pieces = [data[place : place + size] for place in range(0, len(data), size)]
        found = answers(server, pieces, len(wanted) + 2)
        assert [one.status for one in found] == [200] * 14
        for x, one in zip([*wanted, None, wanted[5]], found, strict=True):
            if x is not None:
                assert np.array_equal(arrays_of(one)[0], 3 * x + 1)
        assert json.loads(found[12].body)["outputs"][0]["data"] == [4, 7, 10]
    assert len(begun) >= len(wanted) + 1


def test_a_body_that_comes_slowly_is_whole_and_memory_is_given_back(server: Running) -> None:
    data = binary(np.ones((4, 3)))
    (found,) = answers(server, [data[:-30], data[-30:-7], data[-7:]])
    assert found.status == 200 and np.all(arrays_of(found)[0] == 4)
    assert intake_of(server).held == 0


def connection_of(server: Running) -> type[connections.Connection]:
    own = server._server.config.http
    assert isinstance(own, type) and issubclass(own, connections.Connection)
    return own


def intake_of(server: Running) -> direct.Intake:
    return connection_of(server).direct.intake


def test_memory_of_a_body_that_is_too_large_to_be_kept_is_let_go_and_leaves_the_others() -> None:
    intake = direct.Intake(2**30)
    intake.back(intake.memory(2**13, 0))
    intake.back(intake.memory(2**26 + 1, 0))  # pages that nothing is written to are never there
    assert (list(intake._spare), intake._kept) == ([2**13], 2**13)


def test_who_is_gone_gives_back_what_was_read(server: Running) -> None:
    host, port = server.where.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(binary(np.ones((4, 3)))[:-10])
        until = time.monotonic() + 30
        while not intake_of(server).held:
            assert time.monotonic() < until
            time.sleep(0.005)
    while intake_of(server).held:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_timeout_is_answered_while_the_model_runs_and_the_memory_is_not_used_again() -> None:
    opened, entered, seen = threading.Event(), threading.Event(), list[float]()

    def hook(x: np.ndarray) -> None:
        entered.set()
        assert opened.wait(30)
        seen.append(float(x[0, 0]))

    with running(by_hand(batches=(1,), hook=hook), delay_s=0) as server:
        (found,) = answers(server, [binary(np.full((1, 3), 5), timeout_us=200_000)])
        assert entered.is_set() and found.status == 503 and b"0.2 s" in found.body
        assert found.headers["connection"] == "close"
        opened.set()
        assert answers(server, [binary(np.full((1, 3), 7))])[0].status == 200
    assert seen == [5, 7]


def test_who_does_not_read_has_no_more_answered_until_it_does(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that nobody reads would pile up in the server's memory."""
    one, count, piled = binary(np.ones((1, 3))), 1500, [0]
    made, answered = connections.Connection.connection_made, connections.Connection._answered

    def small(self: connections.Connection, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(self, transport)

    def noted(self: connections.Connection, answer: bytes, close: bool) -> None:
        answered(self, answer, close)
        piled.append(self.transport.get_write_buffer_size())

    monkeypatch.setattr(connections.Connection, "connection_made", small)
    monkeypatch.setattr(connections.Connection, "_answered", noted)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = server.where.split(":")
        client.connect((host, int(port)))
        client.settimeout(30)
        sender = threading.Thread(target=client.sendall, args=(one * count,))
        sender.start()
        until = time.monotonic() + 30
        while max(piled) < 2**16:  # the connection's high water
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(0.1)
        assert len(piled) < count and max(piled) < 2**17
        read = b""
        while read.count(b"HTTP/1.1 200") < count:
            read += client.recv(2**16)
        sender.join()


def test_the_loop_is_woken_for_a_large_body_once_and_for_what_follows_as_usual(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_PIECE", 16)
    sizes, came = list[int](), direct.Inference.came

    def noted(self: direct.Inference, size: int) -> None:
        sizes.append(size)
        came(self, size)

    monkeypatch.setattr(direct.Inference, "came", noted)
    x = np.arange(12).reshape(4, 3)
    data, short = binary(x), binary(x[:1])
    pieces = [data[:-48], data[-48:-32], data[-32:-9], data[-9:] + short[:-3], short[-3:]]
    first, second = answers(server, pieces, 2)
    assert np.array_equal(arrays_of(first)[0], 3 * x + 1) and np.array_equal(
        arrays_of(second)[0], [[1, 4, 7]]
    )
    assert sizes[1] == 48, sizes
