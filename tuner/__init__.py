"""Kernel autotuning lab.

`tuner.tune` searches, `tuner.best` answers from the database, `tuner.load` gives a callable for
one's own program. Everything is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import best, load, tune

__all__ = ["best", "load", "tune"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tuner import api

        return getattr(api, name)
    raise AttributeError(f"module 'tuner' has no attribute {name!r}")
