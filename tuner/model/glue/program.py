"""A program: nodes of a graph that C++ of ours computes, between the kernels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.model.graph import Graph, Node


@dataclass(frozen=True)
class Folded:
    """An array that is computed once of constants of the model.

    Attributes:
        names: of the constants.
        compute: the array, of theirs.
    """

    names: tuple[str, ...]
    compute: Callable[..., np.ndarray]


Operand = str | np.ndarray | Folded | None
"""A value of the graph, numbers of the program's own, what is computed of constants, or a null pointer."""


@dataclass(frozen=True)
class Call:
    """One call of a C++ function: `void NAME(const int64_t* p, void* const* a)`.

    Attributes:
        function: its name.
        text: the C++ that has it; empty for those of `cuda_src/model/programs.h`.
        numbers: `p` behind the number of threads.
        operands: what `a` leads to.
    """

    function: str
    text: str
    numbers: tuple[int, ...]
    operands: Sequence[Operand]


@dataclass(frozen=True)
class Program:
    """Nodes that calls stand in for.

    Attributes:
        nodes: in the graph's order.
        inputs: values it is given, no constants.
        outputs: values that it makes.
        calls: in order.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: Sequence[Call]

    @property
    def constants(self) -> set[str]:
        """Names of the constants of the model that it needs as arrays."""
        found: set[str] = set()
        for operand in (o for call in self.calls for o in call.operands):
            found.update(operand.names if isinstance(operand, Folded) else ())
        return found


def constant(name: str) -> Folded:
    """A constant of the model as it is."""
    return Folded((name,), lambda array: array)


def operand(graph: Graph, name: str) -> Operand:
    """A node's input: a value, or a constant as it is."""
    return constant(name) if name in graph.constants else name


def of_node(graph: Graph, node: Node, calls: Sequence[Call]) -> Program:
    """The program that one node is."""
    inputs = tuple(dict.fromkeys(n for n in node.inputs if n and n not in graph.constants))
    return Program((node,), inputs, tuple(n for n in node.outputs if n), calls)


def floats(graph: Graph, *names: str) -> bool:
    """Whether all are tensors of float32 of known shapes, none of them empty."""
    values = [graph.value(name) for name in names]
    return all(value.dtype == "float32" and value.elements for value in values)


def integers(given: Any, count: int, default: int) -> tuple[int, ...]:
    """An attribute that is a list of integers, or its default.

    Raises:
        ValueError: of another length, or no list.
    """
    if given is None:
        return (default,) * count
    found = tuple(int(each) for each in given)
    if len(found) != count:
        raise ValueError(f"{len(found)} numbers where {count} are wanted")
    return found
