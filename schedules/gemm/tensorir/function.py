"""What any TensorIR GEMM begins with: parameters, blocks in loops, elements by place, the epilogue."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tuner.core.workload import Workload


class GemmFunction(ABC):
    """What any TensorIR GEMM begins with: the parameters, blocks in loops, elements by their logical place.

    Args:
        workload: any GEMM in f32.
    """

    def __init__(self, workload: Workload) -> None:
        from tvm.script.ir_builder import IRBuilder
        from tvm.script.ir_builder import tirx as T

        self.T, self.named = T, IRBuilder.name
        self.workload = workload
        self.m, self.n, self.k = workload["m"], workload["n"], workload["k"]
        self.batch = int(workload.option("batch", 1))
        self.trans_a, self.trans_b = workload.option("trans_a", False), workload.option("trans_b", False)

    def module(self) -> Any:
        """The module; its function is `main`, its parameters are the tensors of the operator's signature."""
        import tvm
        from tvm.script.ir_builder import IRBuilder

        T = self.T
        with IRBuilder() as builder:
            with T.prim_func(s_tir=True):
                T.func_name("main")
                T.func_attr({"tirx.noalias": True})
                self._parameters()
                with T.sblock("root"):
                    T.reads()
                    T.writes()
                    self.body()
            function = builder.get().with_attr("global_symbol", "main")
        return tvm.IRModule({"main": function})

    @abstractmethod
    def body(self) -> None:
        """Allocates and writes the blocks."""

    def _parameters(self) -> None:
        lead = () if self.batch == 1 else (self.batch,)
        m, n, k, w = self.m, self.n, self.k, self.workload
        shapes = {"A": (*lead, k, m) if self.trans_a else (*lead, m, k)}
        shapes["B"] = (*lead, n, k) if self.trans_b else (*lead, k, n)
        if w.option("beta", 0.0) != 0:
            shapes["C"] = (*lead, m, n)
        if w.option("bias", False):
            shapes["bias"] = (n,)
        shapes["D"] = (*lead, m, n)
        # NumPy aligns to 16 bytes and views to 4: no vector load may assume more.
        self.tensors = {
            name: self.T.arg(name, self.T.buffer(shape, "float32", align=4)) for name, shape in shapes.items()
        }

    def buffer(self, name: str, shape: tuple[int, ...], scope: str = "global") -> Any:
        """Allocates a buffer in f32 under a name."""
        buffer = self.T.sblock_alloc_buffer(shape, "float32", scope=scope)
        self.named(name, buffer)
        return buffer

    @contextmanager
    def block(self, name: str, **axes: int) -> Iterator[list[Any]]:
        """A block in a loop nest of its own; an axis whose name is in capitals is a reduction."""
        T = self.T
        with ExitStack() as stack:
            loops = list(stack.enter_context(T.grid(*axes.values())))
            stack.enter_context(T.sblock(name))
            bound = []
            for (axis, extent), loop in zip(axes.items(), loops, strict=True):
                self.named(axis.lower(), loop)
                variable = (T.axis.reduce if axis.isupper() else T.axis.spatial)(extent, loop)
                self.named("v" + axis.lower(), variable)
                bound.append(variable)
            yield bound

    def at(self, name: str, b: Any, i: Any, j: Any) -> Any:
        """Element (i, j) of a tensor as it is stored, in batch `b`."""
        indices = (i, j) if self.batch == 1 else (b, i, j)
        return self.tensors[name][indices]

    def a(self, b: Any, i: Any, kk: Any) -> Any:
        """Element (i, kk) of A, whichever way it is stored."""
        return self.at("A", b, kk, i) if self.trans_a else self.at("A", b, i, kk)

    def b(self, b: Any, kk: Any, j: Any) -> Any:
        """Element (kk, j) of B, whichever way it is stored."""
        return self.at("B", b, j, kk) if self.trans_b else self.at("B", b, kk, j)

    def region(self, name: str, b: Any, rows: slice, columns: slice) -> Any:
        """A part of a tensor as it is stored."""
        return self.at(name, b, rows, columns)

    def either(self, whole: Any, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """`then` where `whole` holds, which may be known already; else `otherwise`."""
        if whole is True:
            then()
            return
        with self.T.If(whole):
            with self.T.Then():
                then()
            with self.T.Else():
                otherwise()

    def addends(self, b: Any, i: Any, j: Any) -> Any:
        """beta * C + bias at an element, `None` where there is neither."""
        value = None
        if "C" in self.tensors:
            beta, value = self.workload.option("beta", 0.0), self.at("C", b, i, j)
            value = value if beta == 1 else self.T.float32(beta) * value
        if "bias" in self.tensors:
            value = self.tensors["bias"][j] if value is None else value + self.tensors["bias"][j]
        return value

    def scaled(self, total: Any) -> Any:
        """alpha times a sum."""
        alpha = self.workload.option("alpha", 1.0)
        return total if alpha == 1 else self.T.float32(alpha) * total

    def relu(self, value: Any) -> Any:
        """max(value, 0); a NaN stays one, where T.max(value, 0) is 0."""
        zero = self.T.float32(0)
        return self.T.Select(value < zero, zero, value)

    def store(self, b: Any, i: Any, j: Any, value: Any) -> None:
        """D at an element."""
        self.T.buffer_store(self.tensors["D"], value, [i, j] if self.batch == 1 else [b, i, j])
