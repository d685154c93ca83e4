"""Concat without copies: what is concatenated is written where it belongs in the first place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tuner.model.glue.moves import concat_axis
from tuner.model.glue.program import Program
from tuner.model.graph import Graph

# Kernels read and write vectors: what begins in the middle of a cache line stays where it is.
_LINE = 64


@dataclass
class Placing:
    """Which values lie within which other ones.

    Attributes:
        sources: of each value that only has another shape, the value it is.
        inside: of values that lie within another one: that one, and the byte at which they begin.
    """

    sources: dict[str, str] = field(default_factory=dict)
    inside: dict[str, tuple[str, int]] = field(default_factory=dict)

    def root(self, name: str) -> str:
        """The value itself, of one that only has another shape."""
        while name in self.sources:
            name = self.sources[name]
        return name

    def where(self, name: str) -> tuple[str, int]:
        """The outermost value that a value lies within, and the byte at which it begins there."""
        name, begin = self.root(name), 0
        while name in self.inside:
            name, more = self.inside[name]
            name, begin = self.root(name), begin + more
        return name, begin


def placing(graph: Graph, order: Sequence[Any], sources: Mapping[str, str]) -> Placing:
    """Puts inputs of concatenations within what they become, where each is in one piece there.

    Args:
        graph: of the model.
        order: of a run; programs, and what has an `output` or `outputs` of its own.
        sources: of each value that only has another shape, the value it is.
    """
    found = Placing(dict(sources))
    made: set[str] = set()
    for stage in order:
        made.update(getattr(stage, "outputs", ()))
        made.add(getattr(stage, "output", ""))
    free = made - set(graph.outputs)
    whole = [node for stage in order if (node := _concat(stage)) is not None and _in_pieces(graph, node)]
    for place, node in enumerate(whole):
        # The first of a larger one: [a, b] within [a, b, c].
        for other in whole[place + 1 :]:
            if other.inputs[: len(node.inputs)] == node.inputs and node.outputs[0] in free:
                found.inside[node.outputs[0]] = (other.outputs[0], 0)
                free.discard(node.outputs[0])
                break
    for node in whole:
        begin = 0
        for name in node.inputs:
            size, root = graph.value(name).nbytes or 0, found.root(name)
            apart = found.where(root)[0] != found.where(node.outputs[0])[0]
            if root in free and begin % _LINE == 0 and apart:
                found.inside[root] = (node.outputs[0], begin)
                free.discard(root)
            begin += size
    return found


def _concat(stage: Any) -> Any:
    one = isinstance(stage, Program) and len(stage.nodes) == 1 and stage.nodes[0].op == "Concat"
    return stage.nodes[0] if one else None


def _in_pieces(graph: Graph, node: Any) -> bool:
    """Whether each input is one piece of the output: all axes before the one they are joined along are 1."""
    return math.prod((graph.shape(node.outputs[0]) or ())[: concat_axis(graph, node)]) == 1


def without_copies(graph: Graph, program: Program, found: Placing) -> Program:
    """A Concat's program without the copies of what lies in its place already; others as they are."""
    node = _concat(program)
    if node is None or not _in_pieces(graph, node):
        return program
    whole, begin = found.where(node.outputs[0])
    calls = []
    for name, call in zip(node.inputs, program.calls, strict=True):
        if name in graph.constants or found.where(name) != (whole, begin):
            calls.append(call)
        begin += graph.value(name).nbytes or 0
    return replace(program, calls=calls)
