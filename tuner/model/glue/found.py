"""Which nodes of a graph are programs of ours, and which stay ONNX Runtime's."""

from collections.abc import Sequence

from tuner.model.glue import elementwise, local_response, moves, pooling, rows
from tuner.model.glue.program import Program
from tuner.model.graph import Graph, Node

_KINDS = {op: kind for kind in (local_response, moves, pooling, rows) for op in kind.OPERATORS}


def programs(graph: Graph, nodes: Sequence[Node], views: frozenset[str] = frozenset()) -> list[Program]:
    """The programs among a model's nodes that no kernel computes.

    Two kinds stay ONNX Runtime's although a program could compute them. What has only its nodes around it: a
    session that is one part with its neighbours costs less than two with a program between. And elementwise
    chains behind one of its nodes, which it may make part of that one: a convolution that is left to it has
    its normalisation, sum and activation.

    Args:
        graph: of the model.
        nodes: that no kernel computes, in the graph's order.
        views: operators that only change a shape.
    """
    others = [node for node in nodes if node.op not in views or node.domain]
    chains = elementwise.groups(
        graph, [n for n in nodes if n.op == "Identity" or n.op not in views or n.domain]
    )
    found = list(chains)
    for node in others:
        if node.op in _KINDS:
            try:
                made = _KINDS[node.op].program(graph, node)
            except (TypeError, ValueError, LookupError, ArithmeticError):
                made = None  # ONNX Runtime says what is wrong with the node
            if made is not None and any(name not in graph.constants for name in made.outputs):
                found.append(made)
    theirs = _theirs(others, found)
    behind = {id(p) for p in chains if any(_maker(graph, name, views) in theirs for name in p.inputs)}
    found = sorted((p for p in found if id(p) not in behind), key=lambda program: program.nodes[-1].index)
    return _worth_it(graph, found, others, views)


def _theirs(nodes: Sequence[Node], found: Sequence[Program]) -> set[int]:
    """Nodes that stay ONNX Runtime's."""
    ours = {node.index for program in found for node in program.nodes}
    return {node.index for node in nodes} - ours


def _worth_it(
    graph: Graph, found: list[Program], others: Sequence[Node], views: frozenset[str]
) -> list[Program]:
    while True:
        theirs = _theirs(others, found)
        kept = [program for program in found if not _among(graph, program, theirs, views)]
        if len(kept) == len(found):
            return found
        found = kept


def _among(graph: Graph, program: Program, theirs: set[int], views: frozenset[str]) -> bool:
    """Whether ONNX Runtime makes all that it takes and takes all that it makes."""
    if not theirs or any(_maker(graph, name, views) not in theirs for name in program.inputs):
        return False
    users = [user for name in program.outputs for user in graph.consumers.get(name, ())]
    return all(user.index in theirs for user in users)


def _maker(graph: Graph, name: str, views: frozenset[str]) -> int:
    """Index of the node that makes a value, whatever shape it is given then; -1: it is the model's input."""
    node = graph.producers.get(name)
    while node is not None and node.op in views and not node.domain:
        node = graph.producers.get(node.input(0))
    return -1 if node is None else node.index
