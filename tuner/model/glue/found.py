"""Which nodes of a graph are programs of ours, and which stay ONNX Runtime's."""

from collections.abc import Sequence

from tuner.model.glue import elementwise, moves, pooling, rows
from tuner.model.glue.program import Program
from tuner.model.graph import Graph, Node

_KINDS = {op: kind for kind in (moves, pooling, rows) for op in kind.OPERATORS}


def programs(graph: Graph, nodes: Sequence[Node], views: frozenset[str] = frozenset()) -> list[Program]:
    """The programs among a model's nodes that no kernel computes.

    What has only nodes of ONNX Runtime around it stays with them: a session that is one part with its
    neighbours costs less than two with a program between.

    Args:
        graph: of the model.
        nodes: that no kernel computes, in the graph's order.
        views: operators that only change a shape.
    """
    others = [node for node in nodes if node.op not in views or node.domain]
    found = elementwise.groups(
        graph, [n for n in nodes if n.op == "Identity" or n.op not in views or n.domain]
    )
    for node in others:
        if node.op in _KINDS:
            try:
                made = _KINDS[node.op].program(graph, node)
            except (TypeError, ValueError, LookupError, ArithmeticError):
                made = None  # ONNX Runtime says what is wrong with the node
            if made is not None and any(name not in graph.constants for name in made.outputs):
                found.append(made)
    found.sort(key=lambda program: program.nodes[-1].index)
    return _worth_it(graph, found, {node.index for node in nodes}, views)


def _worth_it(graph: Graph, found: list[Program], rest: set[int], views: frozenset[str]) -> list[Program]:
    while True:
        ours = {node.index for program in found for node in program.nodes}
        theirs = {i for i in rest - ours if graph.nodes[i].op not in views or graph.nodes[i].domain}
        kept = [p for p in found if not _among(graph, p, theirs, views)]
        if len(kept) == len(found):
            return found
        found = kept


def _among(graph: Graph, program: Program, theirs: set[int], views: frozenset[str]) -> bool:
    """Whether ONNX Runtime makes all that it takes and takes all that it makes."""
    if not theirs:
        return False
    for name in program.inputs:
        node = graph.producers.get(name)
        while node is not None and node.op in views and not node.domain:
            node = graph.producers.get(node.input(0))
        if node is None or node.index not in theirs:
            return False
    users = [user for name in program.outputs for user in graph.consumers.get(name, ())]
    return all(user.index in theirs for user in users)
