"""Two models on one machine: each alone and both together, the other one in a process of its own."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from tests.in_process import run_here
from tests.model.graphs import convolutional, helper, save
from tuner.model.beside import Neighbour, measure
from tuner.model.contestants import Contestant

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")


class Recorded(Neighbour):
    """A neighbour that notes what it is told."""

    def __init__(self) -> None:
        self.names, self.told, self.running = ["a", "b"], list[str](), ""

    def start(self, name: str) -> None:
        assert not self.running
        self.running = name
        self.told.append(name)

    def stop(self) -> list[float]:
        assert self.running
        self.running = ""
        return [1e-3, 3e-3]


def test_each_is_timed_alone_and_both_together() -> None:
    other = Recorded()

    def call() -> list[np.ndarray]:
        time.sleep(5e-3 if other.running else 1e-3)
        return []

    ways = [Contestant(name, call) for name in ("a", "b", "c")]
    found = measure(ways, other, 3, turn_s=0.01)
    assert [each.name for each in found] == ["a", "b"], "the other model is not run by c"
    assert other.told.count("a") == other.told.count("b") == 6 and not other.running
    for each in found:
        assert each.alone.p50 < 4e-3 < each.shared.p50 <= each.shared.p95 <= each.shared.p99
        assert each.other_alone.per_s == each.other_shared.per_s == pytest.approx(500)


@pytest.mark.slow
def test_the_command_times_two_models(tmp_path: Path) -> None:
    path, database = convolutional(tmp_path / "m.onnx"), str(tmp_path / "r.db")
    beside = save(tmp_path / "n.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 2]}, ["y"])
    from tuner.store.store import open_store

    with open_store(database):
        pass
    command = ["model", "compare", str(path), "--rounds", "2", "--json", "--db", database]
    done = run_here(*command, "--beside", str(beside), "--beside-dim", "n=2")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert {"onnxruntime", "onnxruntime bound"} <= {each["name"] for each in found["beside"]}
    assert all(each["other_shared"]["per_s"] > 0 and each["shared"]["p99_s"] > 0 for each in found["beside"])
    # What is wrong with the other model is said as for this one.
    done = run_here(*command, "--beside", str(beside))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "--dim n=" in done.stderr
