"""Gemm and MatMul nodes as workloads of gemm, with bias, addend and activation."""

import math
from collections.abc import Container
from typing import Any

from tuner import registry
from tuner.core.activations import OF_PRODUCTS
from tuner.core.errors import InvalidWorkload
from tuner.core.kernel import FROZEN
from tuner.core.workload import Workload
from tuner.model.epilogues import row_epilogue
from tuner.model.graph import Graph, Node
from tuner.model.layer import Binding, Layer, NotTuned, dtype_of


def gemm_workload(dtype: str, **values: Any) -> Workload:
    """A workload of gemm.

    Raises:
        NotTuned: there is none of these values.
    """
    try:
        return registry.operator("gemm").workload(dtype, **values)
    except InvalidWorkload as error:
        raise NotTuned(str(error)) from None


def recognize_gemm(graph: Graph, node: Node, claimed: Container[int] = ()) -> Layer:
    """The layer that a Gemm begins.

    Raises:
        NotTuned: shapes are not known, or C is spread in a way that the kernels have not.
    """
    a, b = graph.shape(node.input(0)), graph.shape(node.input(1))
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        raise NotTuned("its shapes are not known before it runs")
    trans_a, trans_b = (bool(node.attributes.get(name, 0)) for name in ("transA", "transB"))
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    k, m = a if trans_a else a[::-1]
    n = b[0] if trans_b else b[1]
    bias, addend, c = "", "", node.input(2)
    if c and beta != 0:
        shape = graph.shape(c)
        if shape == (m, n) and m > 1:
            addend = c
        elif shape in ((n,), (1, n)) and beta == 1:
            bias = c
        else:
            raise NotTuned(f"C {list(shape) if shape else 'of unknown shape'} with beta {beta:g} is no bias")
    after = row_epilogue(graph, node.outputs[0], bias, addend, claimed)
    values = {"trans_a": trans_a, "trans_b": trans_b, "alpha": alpha}
    scale = beta if addend else 1.0
    return _layer(graph, node, after, {"m": m, "n": n, "k": k, **values}, scale)


def recognize_matmul(graph: Graph, node: Node, claimed: Container[int] = ()) -> Layer:
    """The layer that a MatMul begins: one product of all rows where B is a matrix, else a batch.

    Raises:
        NotTuned: shapes are not known, or one batch is spread over another.
    """
    values = matmul_values(graph.shape(node.input(0)), graph.shape(node.input(1)))
    return _layer(graph, node, row_epilogue(graph, node.outputs[0], "", "", claimed), values, 1.0)


def matmul_values(a: tuple[int, ...] | None, b: tuple[int, ...] | None) -> dict[str, Any]:
    """Dimensions and batch of gemm, of the shapes of two factors.

    Raises:
        NotTuned: it has none for them.
    """
    if a is None or b is None:
        raise NotTuned("its shapes are not known before it runs")
    if len(a) < 2 or len(b) < 2:
        raise NotTuned("a product with a vector")
    values: dict[str, Any] = {"n": b[-1], "k": a[-1]}
    if math.prod(b[:-2]) == 1:
        return {**values, "m": math.prod(a[:-1])}
    if a[:-2] == b[:-2]:
        return {**values, "m": a[-2], "batch": math.prod(a[:-2])}
    raise NotTuned(f"batches {list(a[:-2])} and {list(b[:-2])}: one is spread over the other")


def _layer(graph: Graph, node: Node, after: Any, values: dict[str, Any], beta: float) -> Layer:
    dtype = dtype_of(graph.value(node.input(0)).dtype)
    options: dict[str, Any] = {
        "bias": bool(after.bias),
        **{name: name == after.activation for name in ("relu", *OF_PRODUCTS)},
        "beta": beta if after.addend else 0.0,
    }
    options[FROZEN] = node.input(1) in graph.constants
    workload = gemm_workload(dtype, **values, **options)
    inputs = [Binding("A", node.input(0)), Binding("B", node.input(1))]
    inputs += [Binding("C", after.addend)] if after.addend else []
    inputs += [Binding("bias", after.bias)] if after.bias else []
    return Layer(workload, (node.index, *after.nodes), inputs, after.output)
