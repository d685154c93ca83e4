"""TVM's tensor intrinsics in seconds: what every MetaSchedule `TuneContext` imports."""

from tuner.core.quick_stack import quick_stack


def import_tensor_intrin() -> None:
    """Imports `tvm.s_tir.tensor_intrin`; at once where it has been imported before."""
    with quick_stack():
        import tvm.s_tir.tensor_intrin  # noqa: F401
