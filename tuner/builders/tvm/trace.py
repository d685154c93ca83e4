"""A trace applied to its program: from a configuration of MetaSchedule's to a scheduled module."""

from functools import lru_cache
from typing import Any

from tuner.core.errors import BuildError, InvalidConfig
from tuner.core.kernel import Source
from tuner.core.quick_import import quick_import
from tuner.core.trace_space import trace_content


@lru_cache(8)
def _program(text: str) -> Any:
    """A child builds many traces of one program: parsing it takes longer than applying one."""
    quick_import("tvm", "tvm.script.parser")
    import tvm

    try:
        return tvm.script.from_source(text)
    except Exception as error:
        raise BuildError(f"the program does not parse: {error}") from None


def is_trace(source: Source) -> bool:
    """Whether a source is a program and the trace that schedules it (option `trace`)."""
    return "trace" in source.options


def scheduled(source: Source) -> Any:
    """The scheduled `tvm.IRModule` of a source whose text is the program.

    Raises:
        BuildError: the program does not parse.
        InvalidConfig: the trace holds what none may, or does not apply to it.
    """
    quick_import("tvm", "tvm.s_tir")
    import tvm.s_tir
    from tvm.s_tir.schedule import Trace

    trace = str(source.options["trace"])
    content = trace_content(trace)
    if '"Tensorize"' in trace:
        from tuner.builders.tvm.tensor_intrin import import_tensor_intrin

        import_tensor_intrin()
    schedule = tvm.s_tir.Schedule(_program(source.text), debug_mask="none")
    try:
        Trace.apply_json_to_schedule(content, schedule)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise InvalidConfig(f"the trace does not apply to this program: {reason[:300]}") from None
    return schedule.mod
