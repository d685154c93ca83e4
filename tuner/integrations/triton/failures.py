"""What it means that a configuration raised something: a trial's status, or that the GPU is lost."""

from typing import Any

from tuner.core.brief import printable
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Measurement, Status

# By the names of Triton's and torch's exceptions: older and newer versions keep them in different modules.
_STATUSES = {
    "OutOfResources": Status.OVER_RESOURCES,
    "CompilationError": Status.BUILD_ERROR,
    "PTXASError": Status.BUILD_ERROR,
    "OutOfMemoryError": Status.ENVIRONMENT,  # other programs may have had the memory
    "MemoryError": Status.ENVIRONMENT,
}


class ContextLost(TunerError):
    """A configuration broke the GPU's context, and nothing can run in this process any more."""


def measurement_of(error: BaseException, seconds: float, evidence: Evidence) -> Measurement:
    """The failed trial of a configuration that raised something.

    Args:
        error: what it raised.
        seconds: spent on it.
        evidence: of the trials of its tuning.
    """
    status = next(
        (_STATUSES[k.__name__] for k in type(error).__mro__ if k.__name__ in _STATUSES), Status.RUN_ERROR
    )
    return Measurement(status, evidence, error=text_of(error), run_s=seconds)


def text_of(error: BaseException) -> str:
    """`RuntimeError: ...`, its first line the shortest true account."""
    text = _str(error)
    # Triton shows source before it says what is wrong, and raises that from the reason.
    cause = error.__cause__
    if cause is not None and _str(cause):
        text = f"{_str(cause)}\n{text}"
    return printable(f"{type(error).__name__}: {text}".rstrip(": "), 4_000)


def _str(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception:  # somebody's own exception, whose `__str__` fails: its name is what there is
        return ""


def raise_if_lost(interpreted: bool, what: Any, error: BaseException) -> None:
    """After a failure: whether the GPU still answers.

    Raises:
        ContextLost: it does not; CUDA's errors stick to a process.
    """
    if interpreted:
        return
    try:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except ImportError:
        return
    except Exception:
        reason = text_of(error).splitlines()[0][:200]
        raise ContextLost(
            f"the configuration {what} broke the GPU's context, and this process cannot go on: it is stored "
            f"as failed, and left out when the program is started again ({reason})"
        ) from error
