"""A layer is left to ONNX Runtime where whole runs are surely faster so, and only there."""

from pathlib import Path

import pytest

from tests.export.real import stored_here
from tests.model.graphs import convolutional
from tuner.core.stats import Interval
from tuner.engine.candidate.devices import default_device
from tuner.model import mixing
from tuner.model.comparing import difference
from tuner.model.contestants import Ours, ours
from tuner.model.layers import find_layers
from tuner.model.mixing import MOST, mix, worth_trying
from tuner.model.reading import graph_of, prepared
from tuner.model.runtime import random_inputs, run, session
from tuner.store.store import open_store

pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
KERNELS = {"conv2d": "conv_direct_ahead", "gemm": "cpp_ahead"}


def test_what_a_run_spends_too_little_on_or_wins_by_much_is_not_tried() -> None:
    from tuner import registry

    gemm = registry.operator("gemm")
    slow, slower, quick, small, unknown = (gemm.parse(f"{n}x8x8") for n in range(1, 6))
    mine = {slow: 0.02, slower: 0.05, quick: 0.02, small: 0.001, unknown: 0.05}
    theirs = {slow: 0.021, slower: 0.03, quick: 0.04, small: 0.0001, unknown: 0.0}
    assert worth_trying(mine, theirs, 1.0) == [slower, slow]
    many = {gemm.parse(f"{n}x9x9"): 0.5 for n in range(1, 20)}
    assert len(worth_trying(many, dict.fromkeys(many, 0.1), 1.0)) == MOST


def test_layers_are_left_out_one_by_one_while_a_run_is_surely_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = convolutional(tmp_path / "m.onnx")
    model = prepared(path, {}, weights=True)
    graph = graph_of(model, path, {})
    device, inputs = default_device(), random_inputs(graph, 1)
    workloads = [layer.workload for layer in find_layers(graph).layers]
    with open_store(tmp_path / "r.db") as store:
        stored_here(store, [(w.key, KERNELS[w.operator], {}, 1e-3) for w in workloads], threads=1)
        mine = ours(model, graph, inputs, store, device, 1)
    assert set(mine.executor.layer_seconds(inputs, 1)) == set(workloads)
    gains = iter([Interval(0.9, 1.1, 1.3), Interval(1.05, 1.1, 1.2), Interval(0.8, 0.9, 0.95)])
    tried: list[int] = []

    def gain(with_it: Ours, without: Ours) -> Interval:
        tried.append(with_it.executor.kernels - without.executor.kernels)
        return next(gains)

    monkeypatch.setattr(mixing, "worth_trying", lambda *_: workloads)
    monkeypatch.setattr(mixing, "_gain", gain)
    mixed, left = mix(mine, inputs, device, 1)
    assert tried == [1, 1, 1] and [each.workload for each in left] == [workloads[1]]
    assert (mixed.executor.kernels, left[0].count, left[0].gain.low) == (2, 1, 1.05)
    assert "1 layers left to it" in mixed.contestant.note
    assert difference(mixed.contestant.call(), run(session(model, 1), inputs)) <= 1


def test_two_runs_are_timed_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time
    from types import SimpleNamespace

    from tuner.model.contestants import Contestant

    monkeypatch.setattr(mixing, "ROUNDS", 3)
    ways = [SimpleNamespace(contestant=Contestant("x", lambda s=s: time.sleep(s))) for s in (0.03, 0.003)]
    assert mixing._gain(*ways).low > 2  # type: ignore[arg-type]
