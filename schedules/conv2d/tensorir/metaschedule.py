"""conv2d scheduled by TVM's MetaSchedule: its rules make the space, its evolutionary search proposes."""

from collections.abc import Mapping
from typing import ClassVar

from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS
from tuner.schedules.conv2d.tensorir import plain_program, program
from tuner.schedules.scheduled import too_large
from tuner.schedules.traced import TracedKernel


class MetaScheduleConv(TracedKernel):
    """The plain program on a CPU."""

    name = "conv_metaschedule"
    operator = "conv2d"
    language = "tensorir"
    summary = "TensorIR scheduled by TVM's MetaSchedule; a configuration is a trace (searcher metaschedule)."
    dtypes = ("f32",)
    options: ClassVar[Mapping[str, Option]] = {**OPTIONS, **EPILOGUE}

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits."""
        reason = super().unsupported(workload, target)
        p, q = program.output_pixels(workload)
        high, wide = program.padded_pixels(workload)
        image = workload["n"] * workload["c"] * high * wide
        return reason or too_large(max(image, workload["n"] * workload["k"] * p * q))

    def program(self, workload: Workload) -> str:
        """See `plain_program`."""
        return plain_program.source(workload)

    def tensors(self, workload: Workload) -> tuple[str, ...]:
        """X, W, bias and residual where asked for, Y."""
        return plain_program.tensors(workload)


class MetaScheduleConvCuda(MetaScheduleConv):
    """The plain program on a GPU."""

    name = "conv_metaschedule_cuda"
    language = "tensorir"
    target_kinds = ("cuda",)
