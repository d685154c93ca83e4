"""What follows a matrix product is part of it: GELU in the forms that exporters write, SiLU, Tanh, ReLU."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model.graphs import helper, onnx, save, weight
from tests.model.test_compare import opened, untuned
from tuner.core.activations import activation_of
from tuner.model.comparing import difference
from tuner.model.layers import find_layers
from tuner.model.runtime import random_inputs, run, session

# Nodes (operator, inputs, output) from "a" to "y".
BRACKET = [("Div", "a root", "d"), ("Erf", "d", "e"), ("Add", "e one", "b")]
FORMS: Mapping[str, list[tuple[str, str, str]]] = {
    "half of the product": [*BRACKET, ("Mul", "a b", "p"), ("Mul", "p half", "y")],
    "half of x": [("Mul", "half a", "h"), *BRACKET, ("Mul", "h b", "y")],
    "half of the bracket": [*BRACKET, ("Mul", "b half", "g"), ("Mul", "g a", "y")],
    "divided by two": [("Mul", "a inverse", "d"), ("Erf", "d", "e"), ("Add", "one e", "b"),
                       ("Mul", "b a", "p"), ("Div", "p two", "y")],
}  # fmt: skip
OTHERS: Mapping[str, list[tuple[str, str, str]]] = {
    "silu": [("Sigmoid", "a", "g"), ("Mul", "a g", "y")],
    "tanh": [("Tanh", "a", "y")],
    "relu": [("Relu", "a", "y")],
}
NUMBERS = {"root": math.sqrt(2), "one": 1, "half": 0.5, "two": 2, "inverse": math.sqrt(0.5)}


def activated(path: Path, form: list[tuple[str, str, str]], outputs: tuple[str, ...] = ("y",)) -> Path:
    """A product of 5 rows with a bias, and these nodes behind it."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "c"], ["a"])]
    nodes += [helper.make_node(op, given.split(), [output]) for op, given, output in form]
    weights: list[Any] = [weight("w", 16, 33), weight("c", 33)]
    weights += [onnx.numpy_helper.from_array(np.float32(value), name) for name, value in NUMBERS.items()]
    return save(path, nodes, {"x": [1, 5, 16]}, list(outputs), weights)


@pytest.mark.parametrize("form", [*FORMS, *OTHERS])
def test_an_activation_is_part_of_the_product_before_it(form: str, tmp_path: Path) -> None:
    model, graph = opened(activated(tmp_path / "m.onnx", (FORMS | OTHERS)[form]))
    (layer,) = find_layers(graph).layers
    assert activation_of(layer.workload) == (form if form in OTHERS else "gelu")
    assert len(layer.nodes) == len(graph.nodes)
    executor, inputs = untuned(model, graph), random_inputs(graph, 1)
    inputs["x"] = np.random.default_rng(2).normal(0, 3, (1, 5, 16)).astype(np.float32)
    assert (executor.parts, executor.programs) == (0, 0)
    assert difference(executor(inputs), run(session(model, 1), inputs)) <= 0.1


@pytest.mark.parametrize(
    ("node", "changed"),
    [
        (0, ("Div", "a two", "d")),  # no square root of 2
        (2, ("Add", "e half", "b")),
        (3, ("Mul", "b b", "p")),
        (4, ("Mul", "p two", "y")),
    ],
)
def test_what_only_looks_like_gelu_is_none(node: int, changed: tuple[str, str, str], tmp_path: Path) -> None:
    form = list(FORMS["half of the product"])
    form[node] = changed
    (layer,) = find_layers(opened(activated(tmp_path / "m.onnx", form))[1]).layers
    assert activation_of(layer.workload) == "" and len(layer.nodes) == 2


@pytest.mark.parametrize("name", ["a", "d", "b", "p"])
def test_gelu_whose_parts_somebody_asks_for_stays_nodes(name: str, tmp_path: Path) -> None:
    path = activated(tmp_path / "m.onnx", FORMS["half of the product"], ("y", name))
    (layer,) = find_layers(opened(path)[1]).layers
    assert activation_of(layer.workload) == ""
