"""Attention scheduled by TVM's MetaSchedule: its rules make the space, its evolutionary search proposes."""

from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.attention.options import OPTIONS
from tuner.schedules.attention.tensorir import plain_program
from tuner.schedules.scheduled import too_large
from tuner.schedules.traced import TracedKernel


class MetaScheduleAttention(TracedKernel):
    """The plain program on a CPU.

    Some of the schedules that TVM 0.27 makes of it compute something else, in TVM's own runtime too: such a
    trial is a `wrong_result`.
    """

    name = "attn_metaschedule"
    operator = "attention"
    language = "tensorir"
    summary = "TensorIR scheduled by TVM's MetaSchedule; a configuration is a trace (searcher metaschedule)."
    dtypes = ("f32",)
    options = OPTIONS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also keys in pages, and where an index would not fit into 32 bits."""
        reason = super().unsupported(workload, target)
        if reason is None and workload.option("paged", False):
            return "its keys and values do not lie in pages"
        b, h, q, kv, d = (size for _, size in workload)
        return reason or too_large(b * h * max(q, d) * max(kv, d))

    def program(self, workload: Workload) -> str:
        """See `plain_program`."""
        return plain_program.source(workload)

    def tensors(self, workload: Workload) -> tuple[str, ...]:
        """Q, K, V, O."""
        return plain_program.TENSORS


class MetaScheduleAttentionCuda(MetaScheduleAttention):
    """The plain program on a GPU: four or five kernels, launched one after the other."""

    name = "attn_metaschedule_cuda"
    language = "tensorir"
    target_kinds = ("cuda",)

    def program(self, workload: Workload) -> str:
        """See `plain_program`; the division comes last."""
        return plain_program.source(workload, divide_last=True)
