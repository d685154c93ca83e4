"""GEMM scheduled by TVM's MetaSchedule: its rules make the space, its evolutionary search proposes."""

from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS, largest_tensor
from tuner.schedules.gemm.tensorir import plain_program
from tuner.schedules.scheduled import too_large
from tuner.schedules.traced import TracedKernel


class MetaScheduleGemm(TracedKernel):
    """The plain program on a CPU."""

    name = "tir_metaschedule"
    operator = "gemm"
    language = "tensorir"
    summary = "TensorIR scheduled by TVM's MetaSchedule; a configuration is a trace (searcher metaschedule)."
    dtypes = ("f32", "f16", "int8")
    options = OPTIONS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits."""
        return super().unsupported(workload, target) or too_large(largest_tensor(workload))

    def program(self, workload: Workload) -> str:
        """See `plain_program`."""
        return plain_program.source(workload)

    def tensors(self, workload: Workload) -> tuple[str, ...]:
        """A, B, C where beta is not 0, bias where asked for, D."""
        return plain_program.tensors(workload)


class MetaScheduleGemmCuda(MetaScheduleGemm):
    """The plain program on a GPU."""

    name = "tir_metaschedule_cuda"
    language = "tensorir"
    target_kinds = ("cuda",)
