"""Requests come when they are due; what a stalled, overloaded or wrong server makes of them is seen."""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.in_process import run_here
from tests.model.serving.made import by_hand, running
from tuner.core.errors import TunerError
from tuner.model.load.arrivals import RequestOutcome, Schedule, arrivals, load
from tuner.model.load.chart import rate_chart
from tuner.model.serving.loading import Served

TOKEN = "a-token-of-many-characters"


def test_arrivals_are_a_poisson_process_of_the_seed() -> None:
    times = arrivals(1000, 20, 1)
    assert np.array_equal(times, arrivals(1000, 20, 1)) and not np.array_equal(
        times[:9], arrivals(1000, 20, 2)[:9]
    )
    gaps = np.diff(times)
    assert abs(len(times) - 20_000) < 5 * 20_000**0.5 and times.max() < 20 and (gaps > 0).all()
    # Of an exponential distribution mean and deviation are alike, and e^-1 of the gaps exceed the mean.
    assert abs(gaps.std() / gaps.mean() - 1) < 0.05 and abs((gaps > gaps.mean()).mean() - np.exp(-1)) < 0.02
    counts = np.histogram(times, 200)[0]
    assert 0.6 < counts.var() / counts.mean() < 1.5


@pytest.mark.parametrize(("rate", "seconds", "count"), [(10, 1, 10), (10, 0.1, 1), (1, 0.01, 1), (3, 1.1, 3)])
def test_spaced_arrivals_are_as_many_as_were_asked_for(rate: float, seconds: float, count: int) -> None:
    times = arrivals(rate, seconds, 1, spaced=True)
    assert len(times) == count and times[0] == 0 and times[-1] < seconds
    np.testing.assert_allclose(np.diff(times), 1 / rate)


def test_all_is_answered_and_right() -> None:
    with running(by_hand(), token=TOKEN) as server:
        plan = Schedule([100, 300], [1, 4], 0.1, verify=True)
        name, found = load(f"http://{server.where}/v2", TOKEN, None, plan)
        assert name == "m" and [(o.batch, o.rate) for o in found] == [(1, 100), (1, 300), (4, 100), (4, 300)]
        for outcome in found:
            assert outcome.sent == len(outcome.latencies_s) == len(arrivals(outcome.rate, 0.1, 1)) > 0
            assert (outcome.refused, outcome.wrong, dict(outcome.failed)) == (0, 0, {})
            assert 0 < outcome.percentile(50) <= outcome.percentile(99) and outcome.throughput > 0
        with pytest.raises(TunerError, match="token"):
            load(f"http://{server.where}", None, None, plan)


def test_who_came_while_the_server_stood_still_waited_all_the_time() -> None:
    """A closed loop would see one slow request; whoever was due meanwhile has waited too."""
    stood = threading.Event()
    begun: list[float] = []

    def hook(x: np.ndarray) -> None:
        begun.append(time.monotonic())
        if len(begun) == 30:  # past the requests that are asked alone before
            stood.set()
            time.sleep(0.3)

    with running(by_hand(batches=(1,), hook=hook), delay_s=0) as server:
        _, (found,) = load(server.where, None, None, Schedule([200], [1], 0.4))
    assert stood.is_set() and found.sent == len(found.latencies_s)
    assert sum(latency > 0.1 for latency in found.latencies_s) >= 15
    assert found.percentile(100) >= 0.3


def test_a_server_that_mixes_up_rows_is_found() -> None:
    def mixing(batches: Sequence[int]) -> Served:
        model = by_hand(batches=batches, hook=lambda x: time.sleep(0.005))
        run = model.run

        def mixed(batch: int, inputs: dict[str, np.ndarray], instance: int) -> list[np.ndarray]:
            return [np.roll(output, 1, 0) for output in run(batch, inputs, instance)]

        model.run = mixed  # type: ignore[method-assign, assignment]
        return model

    with running(mixing((1, 2, 4)), delay_s=0.005) as server:
        _, (found,) = load(server.where, None, None, Schedule([400], [1], 0.1, verify=True))
    assert found.wrong > 0 and len(found.latencies_s) == found.sent


def test_what_is_refused_is_counted_and_not_timed() -> None:
    with running(by_hand(batches=(1,), hook=lambda x: time.sleep(0.01)), queue=2, delay_s=0) as server:
        _, (found,) = load(server.where, None, None, Schedule([600], [1], 0.1))
    assert found.refused > 0 and found.refused + len(found.latencies_s) == found.sent and not found.failed


def test_the_command_prints_a_table_and_json() -> None:
    told = ("--rate", "100", "--seconds", "0.1", "--batch", "1,2", "--verify")
    with running(by_hand()) as server:
        done = run_here("model", "load", server.where, *told)
        assert done.returncode == 0, done.stderr
        assert "from when a request was due" in done.stdout and "too alike" not in done.stderr
        less = ("--rate", "90", "--seconds", "0.1", "--verify", "--json")
        done = run_here("model", "load", server.where, "--model", "m", *less)
        found = json.loads(done.stdout)
        assert found["model"] == "m" and found["verified"] and len(found["outcomes"]) == 1
        assert all(o["evidence"] == "measured" and o["answered"] == o["sent"] for o in found["outcomes"])
        refused = run_here("model", "load", server.where, "--model", "n", *told)
        assert refused.returncode == 2 and "known: m" in refused.stderr
    gone = run_here("model", "load", server.where, *told)
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1) and "tuner model serve" in gone.stderr


def test_latency_is_drawn_for_each_batch_and_a_rate_without_answers_too(tmp_path: Path) -> None:
    found = [
        outcome
        for batch in (1, 8)
        for outcome in (
            RequestOutcome(1, batch, 1, 1, [0.01], [0.0], took_s=1),
            RequestOutcome(9, batch, 1, 9, refused=9, took_s=1),
        )
    ]
    drawn = rate_chart("m", "", found, tmp_path / "c")
    assert [file.name for file in drawn] == ["c.png", "c.svg"]
    text = drawn[1].read_text()
    assert all(text.count(f">batch {batch}, p{p}<") == 1 for batch in (1, 8) for p in (50, 99))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["http://h", "--rate", "0"], "--rate '0'"),
        (["http://h", "--rate", "nan"], "--rate 'nan'"),
        (["http://h", "--batch", "x"], "--batch x"),
        (["http://h", "--rate", "5", "--chart", "c"], "--chart"),
        (["http://h", "--rate", "100000", "--seconds", "100"], "million"),
        (["https://h"], "http://127.0.0.1:8000"),
        (["http://h:99999999"], "http://127.0.0.1:8000"),
        (["http://[::1"], "http://127.0.0.1:8000"),
        (["http://h\r\nx: y"], "http://127.0.0.1:8000"),
        (["http://h", "--seconds", "nan"], "--seconds"),
        (["http://h", "--seed", "9" * 30], "seed"),
        (["http://h", "--token", "a\r\nb: c"], "token"),
    ],
)
def test_it_says_in_one_line_what_it_cannot_ask(arguments: list[str], named: str) -> None:
    done = run_here("model", "load", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and named in done.stderr
