"""A model's budget goes where its time goes; ONNX Runtime's profile finds its layers; a model tuned whole."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.in_process import run_here
from tests.model.graphs import attending, convolutional
from tuner.engine.candidate.devices import default_device
from tuner.engine.tuning import campaign
from tuner.model.graph import Graph
from tuner.model.layers import Layers, find_layers
from tuner.model.profile import attribute, profile
from tuner.model.reading import graph_of, prepared, read_model
from tuner.model.runtime import random_inputs
from tuner.model.split import FEWEST, LEAST_SHARE, shares, split_trials, weights
from tuner.model.tuning import TuningAsked, file_digest, prepare
from tuner.store.store import open_store


def small_model(tmp_path: Path) -> tuple[Graph, Layers]:
    graph = read_model(convolutional(tmp_path / "m.onnx"))
    return graph, find_layers(graph)


def test_a_layer_that_cannot_matter_gets_nothing(tmp_path: Path) -> None:
    _, found = small_model(tmp_path)
    first, second, third = (layer.workload for layer in found.layers)
    told = shares([(first, 0.6), (second, 0.15), (second, 0.15), (third, LEAST_SHARE / 2)], 0.1)
    assert [(s.workload, s.count) for s in told] == [(first, 1), (second, 2), (third, 1)]
    split = split_trials(told, 30)
    assert third not in split and split[first] == 2 * split[second] and sum(split.values()) == 60
    parts = weights(told, split, {second: 0.3})
    assert parts[first] == pytest.approx(0.6 / 1.0005, rel=1e-2)
    assert parts[second] == pytest.approx(2 * told[1].share), "twice as slow as ONNX Runtime's"
    assert weights(told, split, {first: 0.1})[first] == pytest.approx(told[0].share / 2), "far ahead of it"
    lopsided = split_trials(shares([(first, 0.99), (second, 0.006)], 0.0), 40)
    assert lopsided[second] == FEWEST


def test_a_fused_sum_is_the_products(tmp_path: Path) -> None:
    graph, found = small_model(tmp_path)
    events = {
        ("tunernode2x0_nchwc", "Conv"): 3.0, ("tunernode4x0_nchwc", "Conv"): 5.0,
        ("tunernode5x", "GlobalAveragePool"): 0.5, ("y_something", "Gemm"): 1.0, ("stray", "Reorder"): 0.25,
    }  # fmt: skip
    assert attribute(graph, found, events) == ([3.0, 5.0, 1.0], 0.75)


@pytest.mark.parametrize("make", [convolutional, attending])
def test_onnx_runtimes_own_profile_finds_every_layer(make, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    path = make(tmp_path / "m.onnx")
    model = prepared(path, {}, weights=True)
    graph = graph_of(model, path, {})
    found = find_layers(graph)
    told = profile(model, graph, found, random_inputs(graph, 0), default_device(), 1)
    assert all(seconds > 0 for seconds in told.layers) and told.model_s > 0


def test_inputs_come_from_a_file_where_one_is_given(tmp_path: Path) -> None:
    graph, _ = small_model(tmp_path)
    path = tmp_path / "inputs.npz"
    mine = np.full((1, 3, 6, 6), 2, np.float32)
    np.savez(path, x=mine)
    assert np.array_equal(random_inputs(graph, 0, path)["x"], mine)
    for bad in ({"z": mine}, {"x": mine[:, :2]}, {"x": np.array([object()])}):
        np.savez(path, allow_pickle=True, **bad)
        done = run_here(
            "model", "tune", str(graph.path), "--inputs", str(path), "--db", str(tmp_path / "r.db")
        )
        assert done.returncode == 2 and str(path) in done.stderr and len(done.stderr.splitlines()) == 1


def test_without_the_package_the_command_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    path = convolutional(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = run_here("model", "inspect", str(path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "kernel-tuner-lab[model]" in done.stderr


def test_an_interrupted_run_is_gone_on_with_as_it_was_split(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    device = default_device()
    asked = TuningAsked(convolutional(tmp_path / "m.onnx"), {}, trials=20)
    with open_store(str(tmp_path / "r.db")) as store:
        setting = campaign.Setting(device, campaign.default_protocol(device), campaign.Plan(), store)
        workload = find_layers(read_model(asked.path)).layers[1].workload
        question = {**asked.as_plain(file_digest(asked.path)), "split": {workload.key: 17}}
        spec = campaign.campaign_spec([workload], setting, asked={"of_model": question})
        store.finish_campaign(store.begin_campaign(spec), "interrupted")
        ready = prepare(asked, setting)
        assert ready.again and ready.split == {workload: 17}
        other = prepare(replace(asked, trials=21), setting)
        assert not other.again and len(other.split) > 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_model_is_tuned_and_the_same_command_uses_what_is_there(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra 'model'")
    path = convolutional(tmp_path / "m.onnx")
    command = ["model", "tune", str(path), "--trials", "2", "--rounds", "1", "--kernel", "conv_direct",
               "--kernel", "cpp_packed", "--no-baselines", "--json",
               "--db", str(tmp_path / "r.db")]  # fmt: skip
    done = run_here(*command)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    tuned = [layer for layer in told["layers"] if layer["matters"]]
    assert tuned and all(layer["tuned_s"] > 0 for layer in tuned)
    used = sum(layer["tuned_s"] * layer["count"] for layer in tuned)
    used += sum(layer["onnxruntime_profile_s"] for layer in told["layers"] if not layer["matters"])
    assert told["projected_s"] == pytest.approx(used + told["rest_s"])
