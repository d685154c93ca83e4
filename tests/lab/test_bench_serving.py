"""The clients of `bench_serving` count what is answered, and notice an answer that is another request's."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.model.graphs import convolutional
from tests.model.serving.made import by_hand, running
from tuner.lab import bench_serving
from tuner.lab.closed_loop import Asked, Ran, made, run
from tuner.model.load.http import Client
from tuner.model.load.target import AskedModel


def test_each_answer_is_held_against_its_own_requests() -> None:
    with running(by_hand(), delay_s=0) as server:
        host, port = server.where.split(":")
        target = AskedModel(Client(f"http://{server.where}"), "m", [("x", "FP32", (-1, 3))])
        bodies = target.bodies(2, 1)
        rights = []
        for body in bodies:
            x = np.frombuffer(body.data[body.header_bytes :], np.float32).reshape(2, 3)
            rights.append([3 * x + 1, x > 0])
        asked = [made(host, int(port), "m", b, right) for b, right in zip(bodies, rights, strict=True)]
        clients = [asked[place : place + 4] for place in range(0, 16, 4)]
        found = run(host, int(port), clients, lambda number, _: number >= 6)
        assert (len(found.ended_s), found.wrong, found.failed.total()) == (24, 0, 0)
        swapped = [Asked(asked[0].data, rights[1]), Asked(asked[1].data, rights[0])]
        assert run(host, int(port), [swapped], lambda number, _: number >= 2).wrong == 2
        bad = [Asked(asked[0].data.replace(b"/m/", b"/n/"))]
        found = run(host, int(port), [bad], lambda number, _: number >= 2)
        assert found.ended_s == [] and "no model 'n'" in next(iter(found.failed))


def test_the_rate_leaves_out_the_first_batch() -> None:
    assert Ran([1.0, 1.0, 2.0, 2.0, 3.0, 3.0]).per_second(2) == 2.0
    assert np.isnan(Ran([1.0]).per_second(1))


@pytest.mark.slow
def test_the_command_measures_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = convolutional(tmp_path / "net.onnx")
    bench_serving.main(
        [str(path), "--batch", "2", "--rounds", "1", "--seconds", "0.5", "--requests", "64",
         "--state", str(tmp_path / "steps.json")]
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert (found["requests"], found["answered"], found["wrong"], found["failed"]) == (64, 64, 0, 0)
    assert found["rows_ratio"] > 0 and found["whole_rows_per_batch"] == 2
    assert found["rows_loop_cpu_ms_per_row"] >= 0 and found["poisson_p99_ms"] >= found["poisson_p50_ms"]
    assert found["steps_left"] == []


def test_a_model_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench_serving.main(["nonesuch"])
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("error: no model 'nonesuch'")


@pytest.mark.slow
def test_what_there_was_no_time_for_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = convolutional(tmp_path / "net.onnx")
    bench_serving.main([str(path), "--batch", "2", "--rounds", "1", "--requests", "2048", "--minutes", "0"])
    found = json.loads(capsys.readouterr().out)
    left = ["round 1 of 1", "half load", "requests 1 to 1024 of 2048", "requests 1025 to 2048 of 2048"]
    assert found["steps_left"] == left
    assert found["answered"] == 0 and "rows_ratio" not in found
