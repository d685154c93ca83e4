"""What ONNX Runtime takes for each layer of a model, from its own profile."""

import json
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.device import Device
from tuner.core.scratch import Scratch
from tuner.engine.processes.locks import measuring
from tuner.engine.tuning.others import watching
from tuner.model.graph import Graph
from tuner.model.layers import Layers
from tuner.model.runtime import run, session

# Runs of which the median is taken, after as many that are not counted.
RUNS, WARM_UP = 7, 3
_PRODUCTS = ("Conv", "Gemm", "MatMul", "Attention")
_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
_FLOATS = ("Conv", "Gemm", "MatMul")
_MARK = re.compile(r"tunernode(\d+)x")


@dataclass(frozen=True)
class Profile:
    """Times of one run of a model by ONNX Runtime.

    Attributes:
        layers: median seconds of each layer, 0 where the profile names none of its nodes.
        rest_s: median seconds of all other nodes together.
        model_s: median seconds of a whole run, timed from outside of a session that does not profile.
        quantizing: of each layer's seconds those of QuantizeLinear and DequantizeLinear by themselves.
        quantizing_rest_s: the same of `rest_s`.
        floats: for each layer, whether ONNX Runtime computes its product in floats.
        disturbed: what other programs took of the cores meanwhile; empty where that was little.
    """

    layers: Sequence[float]
    rest_s: float
    model_s: float
    quantizing: Sequence[float] = ()
    quantizing_rest_s: float = 0.0
    floats: Sequence[bool] = ()
    disturbed: str = ""


def profile(
    model: Any, graph: Graph, found: Layers, inputs: Mapping[str, np.ndarray], device: Device, threads: int
) -> Profile:
    """Runs a model with and without ONNX Runtime's profiler, alone on the device.

    The optimizer fuses nodes and names what it makes after a node or an output; both carry the number of the
    node here, so that a time finds its layer. A product fused with what follows the layer (a residual sum) is
    the layer's.

    Args:
        model: the `ModelProto` of `graph`, with weights; its nodes are renamed.
        graph, found: what was read from it.
        inputs: of a run.
        device: whose measurements are to wait meanwhile.
        threads: of ONNX Runtime.

    Raises:
        ModelError: ONNX Runtime cannot load or run it.
    """
    plain = session(model, threads)
    marked = _marked(model)
    with Scratch("profile") as folder:
        watched = session(marked, threads, profile=str(Path(folder) / "p"))
        with measuring(device.fingerprint):
            others_took, times = watching(threads), list[float]()
            for _ in range(WARM_UP + RUNS):
                start = time.perf_counter()
                run(plain, inputs)
                times.append(time.perf_counter() - start)
            for _ in range(WARM_UP + RUNS):
                run(watched, inputs)
            disturbed = others_took()
        events = json.loads(Path(watched.end_profiling()).read_text())
    per_node = _by_node(events)
    layers, rest_s = attribute(graph, found, per_node)
    apart = {key: time_s for key, time_s in per_node.items() if key[1].endswith(_QUANTIZING)}
    quantizing, quantizing_rest_s = attribute(graph, found, apart)
    in_floats = {key: 1.0 for key in per_node if key[1].removeprefix("Fused") in _FLOATS}
    floats = [count > 0 for count in attribute(graph, found, in_floats)[0]]
    whole_s = statistics.median(times[WARM_UP:])
    return Profile(layers, rest_s, whole_s, quantizing, quantizing_rest_s, floats, disturbed)


def _marked(model: Any) -> Any:
    """The model with the number of each node in its name and in those of its outputs."""
    marked = type(model)()
    marked.CopyFrom(model)
    graph = marked.graph
    kept = {value.name for value in graph.output}
    for node in graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            # Its bodies use names of this graph: names of values stay, nodes are marked alone.
            kept.update(name for other in graph.node for name in other.output)
            break
    renamed: dict[str, str] = {}
    for number, node in enumerate(graph.node):
        node.name = f"tunernode{number}x"
        for place, name in enumerate(node.output):
            if name and name not in kept:
                renamed[name] = node.output[place] = f"tunernode{number}x{place}"
        for place, name in enumerate(node.input):
            if name in renamed:
                node.input[place] = renamed[name]
    del graph.value_info[:]
    return marked


def _by_node(events: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Median seconds by (name, operator) of an event."""
    found: dict[tuple[str, str], list[float]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            op = str(event.get("args", {}).get("op_name", ""))
            found.setdefault((name.removesuffix("_kernel_time"), op), []).append(float(event["dur"]) * 1e-6)
    # A node inside of a loop runs more often: what counts is its time a run.
    return {
        key: statistics.median(times[-RUNS:]) * max(1, len(times) // (WARM_UP + RUNS))
        for key, times in found.items()
    }


def attribute(
    graph: Graph, found: Layers, per_node: Mapping[tuple[str, str], float]
) -> tuple[list[float], float]:
    """Seconds of each layer and of everything else.

    Args:
        graph, found: of the model.
        per_node: seconds by name and operator of what ran; the name holds `tunernodeNUMBERx`, or is that of
            an output of the model with what the optimizer adds to it.
    """
    owner = {index: place for place, layer in enumerate(found.layers) for index in layer.nodes}
    seconds = [0.0] * len(found.layers)
    rest_s, open_events = 0.0, []
    for (name, op), time_s in per_node.items():
        index = _index(graph, name)
        if index in owner:
            seconds[owner[index]] += time_s
        elif index is not None and any(word in op for word in _PRODUCTS):
            open_events.append((index, time_s))
        else:
            rest_s += time_s
    for index, time_s in open_events:
        place = _before(graph, index, owner, seconds)
        if place is None:
            rest_s += time_s
        else:
            seconds[place] += time_s
    return seconds, rest_s


def _index(graph: Graph, name: str) -> int | None:
    numbers = _MARK.findall(name)
    if numbers:
        return int(numbers[-1])
    for output in graph.outputs:
        if name.startswith(output) and output in graph.producers:
            return graph.producers[output].index
    return None


def _before(graph: Graph, index: int, owner: Mapping[int, int], seconds: Sequence[float]) -> int | None:
    """The nearest layer before a node that has no time yet."""
    level = [graph.nodes[index]]
    for _ in range(5):
        makers = [graph.producers[n] for node in level for n in node.inputs if n in graph.producers]
        for node in makers:
            if node.index in owner and seconds[owner[node.index]] == 0:
                return owner[node.index]
        level = [node for node in makers if node.index not in owner]
    return None
