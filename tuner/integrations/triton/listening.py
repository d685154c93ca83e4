"""What Triton's own autotuner says to its listener, into the store."""

import math
import warnings
from typing import Any

from tuner.core.errors import TunerError
from tuner.engine.recorded.exchange import import_recorded
from tuner.integrations.triton.identity import current_device
from tuner.integrations.triton.ledger import NotKept
from tuner.integrations.triton.source import plain_function
from tuner.interchange import triton_cache


class Listener:
    """Takes what `triton.knobs.autotuning.listener` is told, and stores it as a recording.

    Args:
        db: as `tuner.store.store.open_store` takes it.
    """

    def __init__(self, db: str | None = None) -> None:
        self._db = db

    def __call__(self, *, fn: Any, key: Any, configs_timings: Any, **more: Any) -> None:
        """Stores one tuning: `NotKept` warns where that fails, since the kernel is to run in any case."""
        from tuner.store.store import open_store

        content = {
            "key": list(key),
            "configs_timings": [[_plain(config), _times(times)] for config, times in configs_timings.items()],
        }
        name = plain_function(fn).__name__
        try:
            recorded = triton_cache.parse(content, f"what Triton found of {name}", name, _device())
            with open_store(self._db) as store:
                import_recorded(store, recorded)
        except TunerError as error:
            warnings.warn(NotKept(f"a tuning of {name} was not stored: {error}"), stacklevel=2)


def _plain(config: Any) -> dict[str, Any]:
    return {
        "kwargs": dict(config.kwargs),
        **{n: v for n, v in config.all_kwargs().items() if n not in config.kwargs},
    }


def _times(times: Any) -> list[float]:
    values = [float(t) for t in times] if isinstance(times, list | tuple) else [float(times)]
    return values if math.isfinite(values[0]) else [math.inf]


def _device() -> str:
    try:
        return current_device()[0].name
    except Exception:  # no driver: Triton's interpreter
        return "Triton's interpreter"
