"""Which nodes of a graph are programs of ours, and which stay ONNX Runtime's."""

from collections.abc import Collection, Sequence

from tuner.model.glue import elementwise, integer_pooling, local_response, moves, pooling, rows
from tuner.model.glue.program import Program
from tuner.model.graph import Graph, Node

_KINDS = {op: kind for kind in (local_response, moves, pooling, rows) for op in kind.OPERATORS}


def programs(
    graph: Graph, nodes: Sequence[Node], views: frozenset[str] = frozenset(), asked: Collection[str] = ()
) -> list[Program]:
    """The programs among a model's nodes that no kernel computes.

    Three kinds stay ONNX Runtime's although a program could compute them. What has only its nodes around it:
    a session that is one part with its neighbours costs less than two with a program between. And elementwise
    chains behind one of its nodes, which it may make part of that one: a convolution that is left to it has
    its normalisation, sum and activation. And a DequantizeLinear before one of its nodes, which computes on
    the integers where it can.

    Args:
        graph: of the model.
        nodes: that no kernel computes, in the graph's order.
        views: operators that only change a shape.
        asked: values that kernels take.
    """
    others = [node for node in nodes if node.op not in views or node.domain]
    means = integer_pooling.averages(graph, others)
    taken = {node.index for program in means for node in program.nodes}
    free = [n for n in nodes if n.index not in taken]
    chains = elementwise.groups(
        graph, [n for n in free if n.op == "Identity" or n.op not in views or n.domain], asked
    )
    found = [*chains, *means]
    for node in others:
        if node.op in _KINDS and node.index not in taken:
            try:
                made = _KINDS[node.op].program(graph, node)
            except (TypeError, ValueError, LookupError, ArithmeticError):
                made = None  # ONNX Runtime says what is wrong with the node
            if made is not None and any(name not in graph.constants for name in made.outputs):
                found.append(made)
    others = _live(graph, nodes, found, asked, views)
    theirs = _theirs(others, found)
    behind = {id(p) for p in chains if any(_maker(graph, name, views) in theirs for name in p.inputs)}
    behind |= {id(p) for p in chains if _before(graph, p, theirs)}
    found = sorted((p for p in found if id(p) not in behind), key=lambda program: program.nodes[-1].index)
    return _worth_it(graph, found, others, views)


def _before(graph: Graph, program: Program, theirs: Collection[int]) -> bool:
    """Whether it dequantizes for a node of ONNX Runtime's."""
    last = program.nodes[-1]
    users = graph.consumers.get(last.outputs[0], ())
    return elementwise.read_quantized(graph, last) and any(user.index in theirs for user in users)


def _live(
    graph: Graph,
    nodes: Sequence[Node],
    found: Sequence[Program],
    asked: Collection[str],
    views: frozenset[str],
) -> list[Node]:
    """Nodes that somebody needs, programs being there: not what they dequantize themselves."""
    ours = {node.index for program in found for node in program.nodes}
    needed = {*graph.outputs, *asked}.union(*(program.inputs for program in found))
    live = []
    for node in reversed(nodes):
        if node.index in ours or any(name in needed for name in node.outputs if name):
            live.append(node)
            needed.update(() if node.index in ours else (*node.inputs, *node.captures))
    return [node for node in live[::-1] if node.op not in views or node.domain]


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
