"""Kernels that MetaSchedule schedules: a plain TensorIR program, and traces as configurations."""

import re
from abc import abstractmethod

from tuner.core.errors import InvalidSpace
from tuner.core.kernel import Argument, Kernel, Source
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.trace_space import PARAMETER, TraceSpace
from tuner.core.tvm_target import target_dict
from tuner.core.workload import Workload
from tuner.schedules.library import target_threads

# LLVM's straight-line vectorizer finds nothing in loops that TVM has vectorized already, and takes most of
# the time: of 64 random schedules of a 512^3 GEMM the mean build took 3.1 s with it (one 39 s), 0.16 s
# without. The scheduler of machine instructions compares every memory access of a block with every other one
# up to 1,000 of them: half of what is left of the back end's time. From 200 on it takes them in pieces; of
# 77 schedules of two sweeps the code of 76 was the same, byte by byte, and took 43 ms instead of 77.
_LLVM = ("-vectorize-slp=false", "-dag-maps-huge-region:uint=200")
# What LLVM does at level 3 beyond level 2 finds nothing either: 34 schedules of a 512^3 GEMM took 59 ms to
# compile, not 75, and the fastest of a sweep were as fast, timed interleaved: GEMM's 1.003 times (10), a
# convolution's .999 (7), attention's .998 (7). At level 1 two of attention's 7 took a fifth longer.
_LLVM_LEVEL = 2
_ALIGN = re.compile(r"\balign=\d+")


class TracedKernel(Kernel):
    """A program and, as a configuration, the trace of a schedule of it.

    The space is open: `searcher` makes traces, which belong to the workload they were made for.
    """

    searcher = "metaschedule"
    llvm: tuple[str, ...] = _LLVM
    """LLVM's own switches, of kernels for CPUs."""
    llvm_level: int = _LLVM_LEVEL
    """How far LLVM optimizes kernels for CPUs; TVM's default is 3."""

    @abstractmethod
    def program(self, workload: Workload) -> str:
        """TVMScript of a module with one function, `main`, not scheduled; its parameters are the tensors."""

    @abstractmethod
    def tensors(self, workload: Workload) -> tuple[str, ...]:
        """The names of the function's parameters, in order."""

    def space(self, workload: Workload, target: Target) -> TraceSpace:
        """The traces of the workload's program."""
        return TraceSpace(self._text(workload), target_dict(target), self.searcher or "")

    def _text(self, workload: Workload) -> str:
        """The program with its parameters' alignment.

        Programs declare that of an element, as NumPy's views have. Shared memory inherits the alignment of
        what it holds, and a GPU's vector loads (16 bytes) need theirs; memory on a GPU is aligned to 256.
        """
        program = self.program(workload)
        return _ALIGN.sub("align=16", program) if "cuda" in self.target_kinds else program

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The program, with the trace that schedules it as an option.

        Raises:
            InvalidConfig: the trace has not the form of one.
        """
        trace = self.space(workload, target).check(config)[PARAMETER]
        arguments = tuple(Argument(name) for name in self.tensors(workload))
        text = self._text(workload)
        if target.launched:
            return Source(self.language, text, "main_kernel", arguments, options={"trace": trace})
        threads = target_threads(target)
        options = {"trace": trace, "llvm": list(self.llvm), "llvm_level": self.llvm_level}
        return Source(self.language, text, "main", arguments, threads, options=options)


def literal(value: float, dtype: str) -> str:
    """A number as TVMScript: `T.float32(0.5)`.

    Raises:
        InvalidSpace: an integer type cannot have it.
    """
    if dtype.startswith("int"):
        if value != int(value):
            raise InvalidSpace(f"{value} is no {dtype}")
        return f"T.{dtype}({int(value)})"
    return f"T.{dtype}({value!r})"
