"""GELU by erf, as exporters write it: one node, or Div, Erf, Add and two Mul."""

import math

from tuner.model.graph import Graph, Node


def gelu_nodes(graph: Graph, value: str) -> list[Node]:
    """The nodes that are x (1 + erf(x / sqrt 2)) / 2 of a value, in the graph's order; none where it is not.

    The half may be a factor of x, of the bracket or of their product; x is divided by sqrt 2 or multiplied by
    its inverse. The nodes are all that use the value, and nothing else uses what is between them.
    """
    alone = graph.only_consumer(value)
    if alone is not None:
        exact = alone.attributes.get("approximate", "none") in ("none", b"none")
        return [alone] if alone.op == "Gelu" and alone.domain in ("", "com.microsoft") and exact else []
    users = graph.consumers.get(value, [])
    if len(users) != 2 or value in graph.outputs:
        return []
    for inner, product in (users, users[::-1]):
        bracket = _bracket(graph, inner, value)
        rest = _rest(graph, product, value, bracket[-1].outputs[0]) if bracket else []
        if rest:
            nodes = sorted((*bracket, *rest), key=lambda node: node.index)
            same = graph.shape(rest[-1].outputs[0]) == graph.shape(value)
            return nodes if same and not any(node.domain for node in nodes) else []
    return []


def _bracket(graph: Graph, first: Node, value: str) -> list[Node]:
    """The nodes of 1 + erf(x / sqrt 2), from the one that divides x on."""
    erf = graph.only_consumer(first.outputs[0])
    if not math.isclose(_factor(graph, first, value), math.sqrt(0.5), rel_tol=1e-5) or erf is None:
        return []
    one = graph.only_consumer(erf.outputs[0])
    if erf.op != "Erf" or one is None or one.op != "Add" or len(one.inputs) != 2:
        return []
    added = one.inputs[1] if one.inputs[0] == erf.outputs[0] else one.inputs[0]
    return [first, erf, one] if graph.scalar(added) == 1 else []


def _rest(graph: Graph, product: Node, value: str, bracket: str) -> list[Node]:
    """The nodes of a half, x and the bracket multiplied, the last one last."""
    if (behind := graph.only_consumer(bracket)) is None:
        return []
    if behind is product:  # (x b) / 2
        half = graph.only_consumer(product.outputs[0])
        whole = _multiplies(product, value, bracket) and half is not None
        return [product, half] if whole and half and _halves(graph, half, product) else []
    if _factor(graph, product, value) == 0.5:  # (x / 2) b
        return [product, behind] if _joins(graph, behind, product, bracket) else []
    if _factor(graph, behind, bracket) == 0.5:  # x (b / 2)
        return [behind, product] if _joins(graph, product, behind, value) else []
    return []


def _halves(graph: Graph, node: Node, before: Node) -> bool:
    return _factor(graph, node, before.outputs[0]) == 0.5


def _joins(graph: Graph, node: Node, before: Node, other: str) -> bool:
    """Whether a node multiplies what the one before makes, which it alone uses, by another value."""
    return graph.only_consumer(before.outputs[0]) is node and _multiplies(node, before.outputs[0], other)


def _multiplies(node: Node, a: str, b: str) -> bool:
    return node.op == "Mul" and sorted(node.inputs) == sorted((a, b))


def _factor(graph: Graph, node: Node, value: str) -> float:
    """What a node multiplies a value by, a constant; 0 where it does something else."""
    if node.op not in ("Mul", "Div") or len(node.inputs) != 2 or value not in node.inputs:
        return 0.0
    other = node.inputs[1] if node.inputs[0] == value else node.inputs[0]
    found = graph.scalar(other)
    if not found or (node.op == "Div" and node.inputs[0] != value):
        return 0.0
    return found if node.op == "Mul" else 1 / found
