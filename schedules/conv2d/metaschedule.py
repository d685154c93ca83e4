"""conv2d scheduled by TVM's MetaSchedule: its rules make the space, its evolutionary search proposes."""

from pathlib import Path

from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules._traced import TracedKernel
from tuner.schedules.conv2d import _options, _plain_program, _tir_program


class MetaScheduleConv(TracedKernel):
    """The plain program on a CPU."""

    name = "conv_metaschedule"
    operator = "conv2d"
    language = "tensorir"
    summary = "TensorIR scheduled by TVM's MetaSchedule; a configuration is a trace (searcher metaschedule)."
    dtypes = ("f32",)
    options = _options.OPTIONS

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also where an index would not fit into 32 bits."""
        reason = super().unsupported(workload, target)
        if reason is not None:
            return reason
        p, q = _tir_program.output_pixels(workload)
        high, wide = _tir_program.padded_pixels(workload)
        image = workload["n"] * workload["c"] * high * wide
        largest = max(image, workload["n"] * workload["k"] * p * q)
        return "a tensor has 2^30 elements or more" if largest >= 2**30 else None

    def program(self, workload: Workload) -> str:
        """See `_plain_program`."""
        return _plain_program.source(workload)

    def tensors(self, workload: Workload) -> tuple[str, ...]:
        """X, W, bias where asked for, Y."""
        return _plain_program.tensors(workload)

    def source_files(self) -> tuple[Path, ...]:
        """The program's, its options' and the common parts' files."""
        return self._files(_plain_program, _tir_program, _options)


class MetaScheduleConvCuda(MetaScheduleConv):
    """The plain program on a GPU."""

    name = "conv_metaschedule_cuda"
    language = "tensorir_cuda"
    target_kind = "cuda"
