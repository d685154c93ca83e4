"""Names of activations as options of an operator: those that its definition and its kernels know."""

from tuner.core.workload import Workload

ACTIVATIONS = ("relu", "relu6", "silu", "hardswish", "gelu", "tanh")
"""At most one of them ends a workload, the last thing that is done to a result."""
BEYOND_RELU = ("relu6", "silu", "hardswish")
"""Those of convolutions that came after `relu`; kernels name them where they have them."""
OF_PRODUCTS = ("silu", "gelu", "tanh")
"""Those of matrix products that came after `relu`; kernels name them where they have them."""


def activation_of(workload: Workload) -> str:
    """Which of `ACTIVATIONS` ends the workload; empty for none."""
    return next((name for name in ACTIVATIONS if workload.option(name, False)), "")
