"""The server over a network: NVIDIA's own client, many at once, tokens, limits, and its end."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.in_process import run_here
from tests.model.graphs import convolutional
from tests.model.serving.made import Running, by_hand, running
from tuner.model.serving import connections
from tuner.serve.address import Address, listening

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
TOKEN = "a-token-of-many-characters"


def given(x: np.ndarray, binary: bool = True) -> Any:
    found = triton.InferInput("x", list(x.shape), "FP32")
    found.set_data_from_numpy(x, binary_data=binary)
    return found


def test_nvidias_client_finds_all_it_asks_for() -> None:
    with running(by_hand(), delay_s=0) as server, triton.InferenceServerClient(server.where) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("m", "1")
        assert not client.is_model_ready("n")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("m", "1")
        assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
        assert [o["name"] for o in metadata["outputs"]] == ["y", "sign"]
        assert client.get_model_config("m")["max_batch_size"] == 4
        assert [(m["name"], m["state"]) for m in client.get_model_repository_index()] == [("m", "READY")]
        x = np.array([[1, -2, 3]], np.float32)
        for binary in (True, False):
            outputs = [triton.InferRequestedOutput(n, binary_data=binary) for n in ("sign", "y")]
            for found in (
                client.infer("m", [given(x, binary)], outputs=outputs, request_id="q", timeout=10**7),
                client.infer("m", [given(x, binary)]),
            ):
                assert np.array_equal(found.as_numpy("y"), 3 * x + 1)
                assert found.as_numpy("sign").tolist() == [[True, False, True]]
        (stats,) = client.get_inference_statistics("m")["model_stats"]
        assert stats["inference_count"] == 4 and stats["batch_stats"][0]["batch_size"] == 1
        with pytest.raises(Exception, match="no model 'n'"):
            client.infer("n", [given(x)])


def hammered(server: Running, threads: int, requests: int) -> tuple[int, list[str]]:
    """Threads with a client each; every request has its own numbers. Right answers, and what went wrong."""
    right, wrong = [0] * threads, list[str]()

    def work(who: int) -> None:
        rng = np.random.default_rng(who)
        with triton.InferenceServerClient(server.where) as client:
            for number in range(requests):
                x = np.full((int(rng.integers(1, 4)), 3), who * requests + number, np.float32)
                x += rng.integers(0, 100, x.shape) / 128
                try:
                    found = client.infer("m", [given(x, number % 8 != 0)])
                    if np.array_equal(found.as_numpy("y"), 3 * x + 1):
                        right[who] += 1
                    else:
                        wrong.append(f"{who}.{number}: another's answer")
                except Exception as error:
                    wrong.append(f"{who}.{number}: {error!r}")

    workers = [threading.Thread(target=work, args=(who,)) for who in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(right), wrong


def test_32_clients_at_once_lose_nothing_and_mix_nothing_up() -> None:
    with running(by_hand(batches=(1, 2, 4, 8))) as server:
        assert hammered(server, 32, 10) == (320, [])
        plain = server.scheduler.models["m"].statistics.plain("m", "1")
    assert plain["inference_stats"]["success"]["count"] == 320
    assert plain["execution_count"] < 320, "requests were put together"


@pytest.mark.slow
def test_ten_thousand_requests_of_32_clients() -> None:
    with running(by_hand(batches=(1, 2, 4, 8))) as server:
        assert hammered(server, 32, 313) == (32 * 313, [])


def test_what_was_taken_in_is_answered_before_the_end() -> None:
    opened, entered = threading.Event(), threading.Event()

    def hook(x: np.ndarray) -> None:
        entered.set()
        assert opened.wait(30)

    answers = list[Any]()

    def ask(value: int) -> None:
        with triton.InferenceServerClient(server.where) as client:
            answers.append(client.infer("m", [given(np.full((1, 3), value, np.float32))]).as_numpy("y")[0, 0])

    with running(by_hand(hook=hook), delay_s=0) as server:
        # One connection that idles must not keep the server from its end.
        idle = socket.create_connection(server.where.split(":"))
        askers = [threading.Thread(target=ask, args=(value,)) for value in range(3)]
        askers[0].start()
        assert entered.wait(30)
        for asker in askers[1:]:
            asker.start()
        waiting, until = server.scheduler.models["m"], time.monotonic() + 30
        while len(waiting) < 2:
            assert time.monotonic() < until
            time.sleep(0.005)
        server.end()
        time.sleep(0.3)
        with pytest.raises(OSError):
            socket.create_connection(server.where.split(":"))
        opened.set()
        for asker in askers:
            asker.join()
        assert sorted(answers) == [1, 4, 7] and server.ended()
        idle.close()


def test_answers_are_not_held_back_for_an_acknowledgement() -> None:
    """asyncio turns Nagle's algorithm off for sockets that say they are TCP's; accepted ones are alike."""
    with listening(Address(port=0)) as found:
        assert found.proto == socket.IPPROTO_TCP


def test_what_nobody_waits_for_any_more_is_not_run() -> None:
    opened, entered, seen = threading.Event(), threading.Event(), list[float]()

    def hook(x: np.ndarray) -> None:
        entered.set()
        assert opened.wait(30)
        seen.append(float(x[0, 0]))

    body = '{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [%d, 0, 0]}]}'
    with running(by_hand(batches=(1,), hook=hook), delay_s=0) as server:
        waiting, until, connections = server.scheduler.models["m"], time.monotonic() + 30, []
        for value in (1, 2, 3):
            said = body % value
            head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: {server.where}\r\ncontent-length: {len(said)}"
            connections.append(socket.create_connection(server.where.split(":")))
            connections[-1].sendall(f"{head}\r\n\r\n{said}".encode())
            assert entered.wait(30)
            while len(waiting) < value - 1:
                assert time.monotonic() < until
                time.sleep(0.005)
        connections[1].close()
        while len(waiting) > 1:
            assert time.monotonic() < until
            time.sleep(0.005)
        opened.set()
        for connection in (connections[0], connections[2]):
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            connection.close()
        assert seen == [1, 3]


def raw(where: str, data: bytes) -> tuple[int, bytes]:
    """Status and body of what a server says to these bytes, until it closes."""
    with socket.create_connection(where.split(":"), 30) as connection:
        connection.sendall(data)
        found = b""
        while more := connection.recv(65536):
            found += more
    return int(found[9:12] or 0), found.partition(b"\r\n\r\n")[2]


def test_who_has_no_token_is_not_let_in_and_an_address_is_no_place_for_it() -> None:
    with running(by_hand(), token=TOKEN) as server, triton.InferenceServerClient(server.where) as client:
        assert not client.is_server_live()
        assert not client.is_server_live(query_params={"token": TOKEN})
        assert client.is_server_live(headers={"Authorization": f"Bearer {TOKEN}"})
        assert not client.is_server_live(headers={"Authorization": f"Bearer {TOKEN}x"})


def test_a_page_of_another_site_runs_nothing() -> None:
    with running(by_hand()) as server:
        for header in ("host: evil.example", f"host: {server.where}\r\nsec-fetch-site: cross-site"):
            request = (
                f"POST /v2/models/m/infer HTTP/1.1\r\n{header}\r\ncontent-length: 0\r\nconnection: close"
            )
            status, body = raw(server.where, f"{request}\r\n\r\n".encode())
            assert status in (403, 421) and "error" in json.loads(body)


def test_what_is_no_http_and_what_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.model.serving import intake

    monkeypatch.setattr(connections, "HEADERS_S", 0.2)
    monkeypatch.setattr(intake, "BODY_S", 0.2)
    with running(by_hand()) as server:
        status, body = raw(server.where, b"nonsense\r\n\r\n")
        assert status == 400 and "error" in json.loads(body)
        assert raw(server.where, b"GET /v2 HT") == (0, b""), "closed when its headers did not come"
        head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: {server.where}\r\ncontent-length: 50\r\n\r\nabc"
        status, body = raw(server.where, head.encode())
        assert status == 408 and "error" in json.loads(body)
        huge = head.replace("50", "9" * 18).replace("abc", "")
        assert raw(server.where, huge.encode())[0] == 413
        with triton.InferenceServerClient(server.where) as client:
            assert client.is_server_live()


def test_of_too_many_connections_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)
    with running(by_hand()) as server:
        held = [socket.create_connection(server.where.split(":")) for _ in range(2)]
        try:
            status, body = raw(server.where, b"")
            assert status == 503 and "too many" in json.loads(body)["error"]
        finally:
            for connection in held:
                connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_a_file_and_ends_with_0(number: int, tmp_path: Path) -> None:
    path = convolutional(tmp_path / "m.onnx")
    command = [sys.executable, "-m", "tuner", "model", "serve", f"net={path}", "--executor", "onnxruntime",
               "--port", "0", "--max-batch", "2"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "COLUMNS": "200"})  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    try:
        assert select.select([process.stdout], [], [], 90)[0], "the server did not begin"
        said = [process.stdout.readline(), process.stdout.readline()]
        assert said[0].startswith("net: by ONNX Runtime; batches of 1, 2, filled for up to 1 ms")
        found = re.search(r"http://(\S+)/v2", said[1])
        assert found is not None
        with triton.InferenceServerClient(found[1]) as client:
            answer = client.infer("net", [given(np.ones((2, 3, 6, 6), np.float32))]).as_numpy("y")
            assert answer.shape == (2, 5)
        process.send_signal(number)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["none.onnx"], "none.onnx"),
        (["a b.onnx"], "NAME=MODEL.onnx"),
        (["stats.onnx"], "stats"),
        (["x/m.onnx", "y/m.onnx"], "two models are called m"),
        (["m.onnx", "--share", "n=2"], "--share n"),
        (["m.onnx", "--share", "m=0"], "0.001"),
        (["m.onnx", "--share", "m=nan"], "0.001"),
        (["m.onnx", "--executor", "magic"], "tuned or onnxruntime"),
        (["m.onnx", "--host", "0.0.0.0"], "--token new"),
        (["m.onnx", "--dim", "N"], "N=8"),
        (["m.onnx", "--max-delay-ms", "nan"], "--max-delay-ms"),
        (["m.onnx", "--share", "m=" + "9" * 5000], "0.001"),
        (["\x1b[2J.onnx"], "NAME=MODEL.onnx"),
        (["m" * 5000], "NAME=MODEL.onnx"),
    ],
)
def test_it_says_in_one_line_why_it_cannot_begin(arguments: list[str], named: str) -> None:
    done = run_here("model", "serve", "--port", "0", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: ") and named in done.stderr
