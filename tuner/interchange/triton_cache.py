"""What Triton's own autotuner keeps with `cache_results`: `NAME.autotune.json` in a folder of its cache.

Source: `Autotuner.check_disk_cache` in python/triton/runtime/autotuner.py of Triton 3.x. `key` holds the
key's values and then the dtypes of the arguments; `configs_timings` a configuration with its times each, in
milliseconds: median, 20% and 80% quantile, infinite where it failed. The file names no device.
"""

import math
from typing import Any

from tuner.core.errors import InterchangeError
from tuner.core.measurement import Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Value
from tuner.interchange._fields import Fields, clip, duration, plain_name, plain_value
from tuner.interchange.kernel_tuner import checked
from tuner.interchange.ktt import merged, observed_parameters

_TIMINGS = "configs_timings"
_HEAD = 100_000
_MOST_KEYS = 100
# Where Triton's default is meant, files leave it out or say null.
_DEFAULTS: dict[str, Value] = {"num_warps": 4, "num_stages": 3, "num_ctas": 1}
_GAVE_UP = "no time: Triton's autotuner gave up on it"


def may_be_cache(text: str) -> bool:
    """Whether a text is to be looked at as such a file, in which numbers may be infinite."""
    return f'"{_TIMINGS}"' in text[:_HEAD]


def is_cache(content: Any) -> bool:
    """Whether the content of a JSON file has the shape of these."""
    return isinstance(content, dict) and _TIMINGS in content and "key" in content


def parse(content: Any, where: str, kernel: str, device: str) -> RecordedSpace:
    """The recorded space of a file's JSON content.

    The whole numbers of the key are the problem size; what else is in it goes into the kernel's name, since
    another dtype is another problem.

    Args:
        content: as parsed from JSON, infinite numbers allowed.
        where: the file, for messages.
        kernel: its name.
        device: the device's, which the file does not tell.

    Raises:
        InterchangeError: it contradicts itself.
    """
    top = Fields(content, where)
    key, entries = top.get("key", list), top.get(_TIMINGS, list)
    if not entries:
        raise InterchangeError(f"{where} has no configurations")
    if len(key) > _MOST_KEYS:
        raise InterchangeError(f"{where} has a key of more than {_MOST_KEYS} parts")
    sizes = tuple(part for part in key if type(part) is int and 0 <= part < 10**18)[:16]
    others = [
        str(part)[:40].removeprefix("torch.") for part in key if not (type(part) is int and part in sizes)
    ]
    name = f"{kernel}({', '.join(others)})" if others else kernel
    trials = [_trial(entry, f"{where}: configuration {i}") for i, entry in enumerate(entries)]
    names = list(dict.fromkeys(n for trial in trials for n in trial.config))
    # A parameter that only some configurations have is none in the others.
    whole = merged(_with(trial, names) for trial in trials)
    recorded = RecordedSpace(_printable(name), device, sizes, observed_parameters(whole, where), whole)
    return checked(recorded, where)


def _trial(entry: Any, where: str) -> RecordedTrial:
    if not isinstance(entry, list) or len(entry) != 2:
        raise InterchangeError(f"{where} is no pair of a configuration and its times but {clip(entry)}")
    fields = Fields(entry[0], where)
    own = {n: v for n, v in fields.content.items() if n not in ("kwargs", "pre_hook") and v is not None}
    config: dict[str, Value] = {}
    for name, value in {**fields.get("kwargs", dict, {}), **_DEFAULTS, **own}.items():
        plain = value if isinstance(value, bool | int | float | str) else str(value)[:200]
        config[plain_name(name, where)] = plain_value(plain, where)
    times = entry[1] if isinstance(entry[1], list) else [entry[1]]
    if not times or times[0] == math.inf:
        return RecordedTrial(config, Status.BUILD_ERROR, error=_GAVE_UP)
    seconds = [duration(t, 1e3, f"{where}: a time") for t in times[:3]]
    spread = dict(zip(("q20_s", "q80_s"), seconds[1:], strict=False))
    return RecordedTrial(config, Status.OK, (seconds[0],), seconds[0], metrics=spread)


def _with(trial: RecordedTrial, names: list[str]) -> RecordedTrial:
    config = {name: trial.config.get(name, "none") for name in names}
    return RecordedTrial(
        config, trial.status, trial.samples, trial.objective_s, trial.error, metrics=trial.metrics
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]
