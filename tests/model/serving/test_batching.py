"""Requests are put into batches, answered with their own rows, taken in turn, and refused where many wait."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from tests.model.serving.made import asked, by_hand, started
from tuner.model.serving.loading import Served
from tuner.model.serving.protocol import Refused
from tuner.model.serving.scheduler import Scheduler
from tuner.model.serving.waiting import Job, Outcome, Waiting


class Gate:
    """Holds runs up until it is opened; keeps the inputs of each."""

    def __init__(self) -> None:
        self.open, self.entered, self.seen = threading.Event(), threading.Event(), list[np.ndarray]()

    def __call__(self, x: np.ndarray) -> None:
        self.entered.set()
        assert self.open.wait(30)
        self.seen.append(x.copy())


def sent(scheduler: Scheduler, rows: np.ndarray, name: str = "m") -> "Future[Outcome]":
    future: Future[Outcome] = Future()
    job = Job({"x": rows.astype(np.float32)}, len(rows), future.set_result)
    scheduler.submit(scheduler.models[name], job)
    return future


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def test_what_waits_is_put_into_batches_and_each_gets_its_own_rows(gate: Gate) -> None:
    sizes = [1, 1, 2, 1, 3, 4, 1, 1, 1]
    with started(by_hand(hook=gate), delay_s=0) as scheduler:
        futures, asked_for = [], []
        for number, size in enumerate(sizes):
            asked_for.append(np.arange(3 * size).reshape(size, 3) + 100 * number)
            futures.append(sent(scheduler, asked_for[-1]))
            if not number:
                assert gate.entered.wait(30)  # the first runs alone, the others gather behind it
        gate.open.set()
        for rows, future in zip(asked_for, futures, strict=True):
            found = future.result(30)
            assert not isinstance(found, Exception)
            assert np.array_equal(found["y"], 3 * rows + 1) and found["sign"].shape == rows.shape
    # In order, none split: 1; 1+2+1; 3 (4 does not fit); 4; 1+1+1.
    assert [len(x) for x in gate.seen] == [1, 4, 4, 4, 4]
    assert np.array_equal(gate.seen[2][3], gate.seen[2][2]), "padded with a row that the model takes"
    plain = scheduler.models["m"].statistics.plain("m", "1")
    assert (plain["inference_count"], plain["execution_count"]) == (sum(sizes), 5)
    assert {b["batch_size"]: b["compute_infer"]["count"] for b in plain["batch_stats"]} == {1: 1, 3: 2, 4: 2}
    assert plain["inference_stats"]["success"]["count"] == len(sizes)
    samples = {n: v for n, _, v in scheduler.models["m"].statistics.samples('model="m"', 0)}
    assert samples["tuner_model_padded_rows_total"] == 2 and samples["nv_inference_exec_count"] == 5


def test_a_request_waits_for_others_only_so_long() -> None:
    seen: list[int] = []
    with started(by_hand(hook=lambda x: seen.append(len(x))), delay_s=60) as scheduler:
        four = [sent(scheduler, np.zeros((1, 3))) for _ in range(4)]
        for future in four:
            future.result(30)  # a full batch does not wait
        assert seen == [4]
        lone = sent(scheduler, np.zeros((1, 3)))
        time.sleep(0.05)
        assert not lone.done()
        scheduler.drain()
        lone.result(30)
    with started(by_hand(), delay_s=0.01) as scheduler:
        sent(scheduler, np.zeros((1, 3))).result(30)


def test_overload_is_refused_at_once_and_says_when_to_come_again(gate: Gate) -> None:
    body = json.dumps({"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1] * 6}]})
    with asked(by_hand(hook=gate), delay_s=0, queue=8) as client, ThreadPoolExecutor(5) as pool:
        first = pool.submit(client.post, "/v2/models/m/infer", content=body)
        assert gate.entered.wait(30)
        more = [pool.submit(client.post, "/v2/models/m/infer", content=body) for _ in range(4)]
        waited = time.monotonic() + 30
        while 'pending_request_count{model="m",version="1"} 4' not in client.get("/metrics").text:
            assert time.monotonic() < waited
        found = client.post("/v2/models/m/infer", content=body)
        assert found.status_code == 429 and int(found.headers["retry-after"]) >= 1
        assert list(found.json()) == ["error"]
        gate.open.set()
        assert [f.result(30).status_code for f in (first, *more)] == [200] * 5
        assert (
            'tuner_model_refused_total{model="m",version="1",reason="queue"} 1' in client.get("/metrics").text
        )


def test_a_request_has_an_answer_by_its_timeout_and_is_not_run_later(gate: Gate) -> None:
    inputs = [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [7] * 3}]
    with asked(by_hand(hook=gate), delay_s=0) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v2/models/m/infer", json={"inputs": inputs})
        assert gate.entered.wait(30)
        late = client.post("/v2/models/m/infer", json={"inputs": inputs, "parameters": {"timeout": 20_000}})
        assert late.status_code == 503 and "timeout of 0.02 s" in late.json()["error"]
        gate.open.set()
        assert first.result(30).status_code == 200
        assert client.post("/v2/models/m/infer", json={"inputs": inputs}).status_code == 200
    assert len(gate.seen) == 2


def test_inputs_that_the_model_fails_on_fail_alone(gate: Gate) -> None:
    def hook(x: np.ndarray) -> None:
        gate(x)
        if (x == 13).any():
            raise IndexError("index 13 is out of range\nand more")

    with started(by_hand(hook=hook), delay_s=0) as scheduler:
        first = sent(scheduler, np.zeros((1, 3)))
        assert gate.entered.wait(30)
        futures = [sent(scheduler, np.full((1, 3), value)) for value in (1, 13, 2)]
        gate.open.set()
        found = [future.result(30) for future in (first, *futures)]
    bad = found.pop(2)
    assert isinstance(bad, Refused) and bad.status == 500 and "index 13" in str(bad)
    assert [one["y"][0, 0] for one in found if not isinstance(one, Exception)] == [1, 4, 7]
    assert scheduler.models["m"].statistics.plain("m", "1")["inference_stats"]["fail"]["count"] == 1


def noting(name: str, order: list[str], gate: Gate) -> Served:
    """A model without batches that writes down when it ran."""

    def hook(x: np.ndarray) -> None:
        gate(x)
        order.append(name)

    return by_hand(name, (1,), hook)


@pytest.mark.parametrize("shares", [{}, {"a": 2.0}, {"b": 3.0}])
def test_models_have_the_machine_by_their_shares(
    shares: dict[str, float], monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    """Each batch counts as a second, whatever the machine does meanwhile."""
    took = Waiting.took
    monkeypatch.setattr(Waiting, "took", lambda self, rows, seconds: took(self, rows, 1.0))
    order: list[str] = []

    with started(noting("a", order, gate), noting("b", order, gate), delay_s=0, shares=shares) as scheduler:
        futures = [sent(scheduler, np.zeros((1, 3)), "a")]
        assert gate.entered.wait(30)
        futures += [sent(scheduler, np.zeros((1, 3)), name) for name in "ab" for _ in range(24)]
        gate.open.set()
        for future in futures:
            future.result(30)
    a, b = shares.get("a", 1.0), shares.get("b", 1.0)
    for until in (8, 16, 24):
        part = order[:until].count("a")
        assert abs(part - until * a / (a + b)) <= 1, order[:until]


def test_a_model_that_rested_has_saved_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    took = Waiting.took
    monkeypatch.setattr(Waiting, "took", lambda self, rows, seconds: took(self, rows, 1.0))
    order: list[str] = []
    gate = Gate()
    gate.open.set()
    with started(noting("a", order, gate), noting("b", order, gate), delay_s=0) as scheduler:
        for _ in range(20):
            sent(scheduler, np.zeros((1, 3)), "a").result(30)
        order.clear()
        gate.open.clear()
        gate.entered.clear()
        futures = [sent(scheduler, np.zeros((1, 3)), "a")]
        assert gate.entered.wait(30)
        futures += [sent(scheduler, np.zeros((1, 3)), name) for name in "ab" for _ in range(6)]
        gate.open.set()
        for future in futures:
            future.result(30)
    assert 3 <= order[:8].count("a") <= 5, order


def test_a_share_of_nobody_and_two_of_one_name_are_errors() -> None:
    from tuner.core.errors import TunerError
    from tuner.model.serving.server import Rules, scheduled

    with pytest.raises(TunerError, match="unknown model"):
        scheduled([by_hand()], Rules(shares={"n": 2}))
    with pytest.raises(TunerError, match="NAME=MODEL"):
        scheduled([by_hand(), by_hand()], Rules())


def test_instances_run_batches_at_the_same_time_each_in_memory_of_its_own() -> None:
    both = threading.Barrier(2)  # passed by two runs only that are under way together

    def hook(x: np.ndarray) -> None:
        both.wait(30)

    rows = [np.full((1, 3), value) for value in range(16)]
    with started(by_hand(hook=hook, instances=2), delay_s=60, instances=2) as scheduler:
        futures = [sent(scheduler, one) for one in rows]
        for one, future in zip(rows, futures, strict=True):
            found = future.result(30)
            assert not isinstance(found, Exception) and np.array_equal(found["y"], 3 * one + 1)
    plain = scheduler.models["m"].statistics.plain("m", "1")
    assert (plain["inference_count"], plain["execution_count"]) == (16, 4)


def test_what_one_instance_leaves_another_takes_when_it_is_due(gate: Gate) -> None:
    with started(by_hand(hook=gate, instances=2), delay_s=0.2, instances=2) as scheduler:
        futures = [sent(scheduler, np.zeros((3, 3))) for _ in range(2)]
        # Three rows of six are a batch; the other three are due while that one is held up.
        until = time.monotonic() + 30
        while len(scheduler.models["m"]):
            assert time.monotonic() < until
            time.sleep(0.005)
        gate.open.set()
        for future in futures:
            assert not isinstance(future.result(30), Exception)
