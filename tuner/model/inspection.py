"""What is in a model: every node with its workload or why it has none, and its share of the work."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.core.target import Target
from tuner.model.costs import layer_cost, node_cost
from tuner.model.graph import Graph
from tuner.model.layer import Layer
from tuner.model.layers import CONSTANT, Layers, find_layers


@dataclass(frozen=True, slots=True)
class Row:
    """One node, or the nodes of one layer.

    Attributes:
        nodes: names, or `OP#index` of those without.
        ops: what they are.
        workload: key; empty where it is not tuned.
        reason: why it is not tuned, or what is to be known.
        dtype: of the first output, in NumPy's words.
        shape: of the output; `None` where it is not known.
        flops, nbytes: of all of it.
    """

    nodes: tuple[str, ...]
    ops: tuple[str, ...]
    workload: str
    reason: str
    dtype: str
    shape: tuple[int, ...] | None
    flops: int
    nbytes: int


@dataclass(frozen=True)
class Inspection:
    """A model looked at.

    Attributes:
        graph: what was read.
        layers: what the lab tunes in it.
        rows: all of it that a run computes, in the graph's order.
        constants: nodes that are computed before the first run, left out of the rows.
    """

    graph: Graph
    layers: Layers
    rows: Sequence[Row]
    constants: int = 0
    unknown: Sequence[str] = field(default_factory=tuple)

    @property
    def flops(self) -> int:
        """Operations of one run."""
        return sum(row.flops for row in self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of one run, each tensor once a node."""
        return sum(row.nbytes for row in self.rows)

    @property
    def tuned_flops(self) -> int:
        """Operations in what the lab tunes."""
        return sum(row.flops for row in self.rows if row.workload)


def inspect(graph: Graph, target: Target | None = None) -> Inspection:
    """Looks at every node; nothing is executed.

    Args:
        graph: of the model.
        target: what kernels have to serve.
    """
    found = find_layers(graph, target)
    rows = [(max(layer.nodes), _layer_row(graph, layer)) for layer in found.layers]
    for index, reason in found.reasons.items():
        if reason == CONSTANT:
            continue
        node = graph.nodes[index]
        value = graph.value(next((name for name in node.outputs if name), ""))
        flops, nbytes = node_cost(graph, node)
        names, ops = (_called(graph, index),), (node.spelled,)
        rows.append((index, Row(names, ops, "", reason, value.dtype, value.shape, flops, nbytes)))
    rows.sort(key=lambda pair: pair[0])
    constants = sum(reason == CONSTANT for reason in found.reasons.values())
    unknown = [row.nodes[0] for _, row in rows if row.shape is None]
    return Inspection(graph, found, [row for _, row in rows], constants, unknown)


def _called(graph: Graph, index: int) -> str:
    node = graph.nodes[index]
    return node.name or f"{node.op}#{index}"


def _layer_row(graph: Graph, layer: Layer) -> Row:
    value = graph.value(layer.output)
    flops, nbytes = layer_cost(layer)
    return Row(
        tuple(_called(graph, i) for i in layer.nodes), tuple(graph.nodes[i].spelled for i in layer.nodes),
        layer.workload.key, layer.note, value.dtype, value.shape, flops, nbytes,
    )  # fmt: skip


def as_plain(found: Inspection) -> dict[str, Any]:
    """The inspection as plain values for JSON. Shares are of one run's sums, 0 to 1."""
    graph, flops, nbytes = found.graph, found.flops or 1, found.nbytes or 1
    tensors = {kind: [_tensor(graph, name) for name in names]
               for kind, names in (("inputs", graph.inputs), ("outputs", graph.outputs))}  # fmt: skip
    nodes = [
        {
            "nodes": list(row.nodes), "ops": list(row.ops), "workload": row.workload or None,
            "reason": row.reason or None, "dtype": row.dtype or None,
            "shape": None if row.shape is None else list(row.shape), "flops": row.flops, "bytes": row.nbytes,
            "share_of_flops": row.flops / flops, "share_of_bytes": row.nbytes / nbytes,
        }
        for row in found.rows
    ]  # fmt: skip
    workloads = [{"workload": w.key, "count": n} for w, n in found.layers.counts.items()]
    return {
        "model": str(graph.path), "opset": graph.opset, "dims": dict(graph.dims), **tensors, "nodes": nodes,
        "workloads": workloads, "constant_nodes": found.constants, "flops": found.flops,
        "bytes": found.nbytes, "tuned_share_of_flops": found.tuned_flops / flops,
    }  # fmt: skip


def _tensor(graph: Graph, name: str) -> dict[str, Any]:
    value = graph.value(name)
    return {
        "name": name,
        "dtype": value.dtype or None,
        "shape": None if value.shape is None else list(value.shape),
    }


def not_tuned(found: Inspection) -> list[tuple[str, int, float, str]]:
    """(reason, nodes, share of FLOPs, their operators) of what the lab does not tune, most work first."""
    groups: dict[str, list[Row]] = {}
    for row in found.rows:
        if not row.workload:
            groups.setdefault(row.reason, []).append(row)
    flops = found.flops or 1
    listed = []
    for reason, rows in groups.items():
        ops = Counter(op for row in rows for op in row.ops)
        named = ", ".join(f"{op} {count}" for op, count in ops.most_common(6))
        listed.append((reason, len(rows), sum(row.flops for row in rows) / flops, named))
    return sorted(listed, key=lambda group: -group[2])
