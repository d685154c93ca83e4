"""A model's graph as plain data, independent of the library that read it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that flows through a graph.

    Attributes:
        name: unique in the graph.
        shape: `None` where it is not known before the model runs.
        dtype: NumPy's name, or ml_dtypes' (`bfloat16`); empty where it is not known or no tensor.
        itemsize: bytes of one element; 0 where the dtype is not known.
    """

    name: str
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    itemsize: int = 0

    @property
    def elements(self) -> int | None:
        """How many; `None` where the shape is not known."""
        return None if self.shape is None else math.prod(self.shape)

    @property
    def nbytes(self) -> int | None:
        """Bytes of all elements; `None` where shape or dtype are not known."""
        return None if self.shape is None or not self.itemsize else math.prod(self.shape) * self.itemsize


@dataclass(frozen=True, slots=True)
class Node:
    """An operator of a graph.

    Attributes:
        index: place in the graph's order, in which every value is made before it is used.
        name: as in the file; may be empty.
        op, domain: what it computes; the domain of ONNX's own operators is empty.
        inputs: names of values; empty text for one that is left out.
        outputs: as `inputs`.
        attributes: numbers, texts, lists of them; bodies and tensors are left out.
        captures: values that a body inside of it (of a loop, a branch) takes from this graph.
    """

    index: int
    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    captures: tuple[str, ...] = ()

    @property
    def spelled(self) -> str:
        """`Conv`, `com.microsoft:Attention`."""
        return f"{self.domain}:{self.op}" if self.domain else self.op

    def input(self, place: int) -> str:
        """Name of an input; empty where there is none."""
        return self.inputs[place] if place < len(self.inputs) else ""


@dataclass(frozen=True)
class Graph:
    """A model that was read.

    Attributes:
        path: of its file.
        nodes: in an order in which they can run.
        values: by name.
        inputs: what the model is given, without its weights.
        outputs: names.
        initializers: names of weights that are stored.
        small: contents of stored constants of few elements.
        dims: symbolic dimensions that were bound.
        opset: version of ONNX's own operators.
    """

    path: Path
    nodes: Sequence[Node]
    values: Mapping[str, Value]
    inputs: Sequence[str]
    outputs: Sequence[str]
    initializers: frozenset[str]
    small: Mapping[str, np.ndarray]
    dims: Mapping[str, int] = field(default_factory=dict)
    opset: int = 0

    @cached_property
    def producers(self) -> dict[str, Node]:
        """The node that makes a value."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that use a value, once for each use."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in (*node.inputs, *node.captures):
                if name:
                    found.setdefault(name, []).append(node)
        return found

    @cached_property
    def constants(self) -> frozenset[str]:
        """Values that do not depend on the model's inputs, made by nodes or stored."""
        known = set(self.initializers)
        for node in self.nodes:
            used = [name for name in (*node.inputs, *node.captures) if name]
            if not node.op.startswith("Random") and all(name in known for name in used):
                known.update(name for name in node.outputs if name)
        return frozenset(known)

    def value(self, name: str) -> Value:
        """A value; of a name that nothing is known of, one without a shape."""
        return self.values.get(name) or Value(name)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Of a value."""
        return self.value(name).shape

    def only_consumer(self, name: str) -> Node | None:
        """The node that uses a value, where it is one, once, and the value is no output of the model."""
        users = self.consumers.get(name, [])
        return users[0] if len(users) == 1 and name not in self.outputs else None

    def scalar(self, name: str) -> float | None:
        """The number that a stored constant of one element is."""
        found = self.small.get(name)
        if found is None or found.size != 1 or found.dtype.kind not in "fiu":
            return None
        return float(found.reshape(-1)[0])
