"""Errors whose text is meant for the person at the keyboard.

Every `TunerError` is one line that names what is wrong and what would be right; the command line
prints it and exits with code 2. Anything else that escapes is a defect of the lab.
"""

from collections.abc import Iterable
from typing import Any

from tuner.core.brief import brief, printable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one is most like; `None` where none is near."""
    return next(iter(_closest(name, known, 1, 0.6)), None)


def _closest(name: str, known: Iterable[str], count: int, alike: float) -> list[str]:
    import difflib

    # Comparing takes the product of the lengths: nobody mistypes a name of thousands of characters.
    return difflib.get_close_matches(name, list(known), n=count, cutoff=alike) if len(name) <= 200 else []


class TunerError(Exception):
    """Base of all errors a user can mend; the message is one line.

    It may quote what comes from a file: what a terminal would obey is replaced, what is endless is cut.

    Pickled as its message, so that one raised in a worker process arrives whatever its `__init__` takes: a
    `multiprocessing` pool hangs on an exception that it cannot unpickle.
    """

    longest = 1500

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message), self.longest))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), self.args)


def _unpickled(kind: type[TunerError], arguments: tuple[Any, ...]) -> TunerError:
    return kind.__new__(kind, *arguments)


class InvalidWorkload(TunerError):
    """An operator cannot have these dimensions, options or this dtype."""


class InvalidConfig(TunerError):
    """A configuration names an unknown parameter, a value outside its list, or breaks a constraint."""


class InvalidSpace(TunerError):
    """A search space is declared wrongly: an unknown name in a constraint, an empty value list."""


_MOST_LISTED = 40


class InvalidSetting(TunerError):
    """A value that a setting cannot have. Whoever knows by what name a user gave it, says so with `called`.

    Args:
        name: of the setting: an attribute's, an option's, a key's.
        wants: what would be right, as `is at least 1`.
        value: what was given.
    """

    setting = wants = ""
    value: Any = None

    def __init__(self, name: str, wants: str, value: Any) -> None:
        self.setting, self.wants, self.value = name, wants, value
        super().__init__(f"{name} {wants}, not {brief(value)}")

    def called(self, name: str) -> "InvalidSetting":
        """The same under another name; as it is where it came from another process without its parts."""
        return InvalidSetting(name, self.wants, self.value) if self.setting else self


class UnknownName(TunerError):
    """A name that is not registered; the message lists what is, of many the three that are most like it."""

    def __init__(self, kind: str, name: str, known: list[str], hint: str = "") -> None:
        close = nearest(name, known)
        advice = f"did you mean {close!r}? " if close else ""
        listing = f"known: {', '.join(sorted(known)) or 'none'}"
        if len(known) > _MOST_LISTED:
            near = _closest(name, known, 3, 0.0) or sorted(known)[:3]
            listing = f"the nearest of {len(known)} are {', '.join(near)}"
        super().__init__(f"unknown {kind} {brief(name, 200)}: {advice}{listing}{hint}")


class MissingExtra(TunerError):
    """A feature needs an optional package; the message names the extra that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package: pip install 'kernel-tuner-lab[{extra}]'")


class BuildError(TunerError):
    """A source does not compile; the message begins with the compiler's first error line."""

    longest = 1_000_000


class Unavailable(TunerError):
    """A device, builder or kernel cannot be used on this machine; the message says why."""


class MachineFault(TunerError):
    """The machine failed, not the candidate: no space, no memory, a refused limit, a killed process.

    Attributes:
        passing: trying once more may help (something was killed); else it stays until somebody mends it.
    """

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class StoreError(TunerError):
    """A database cannot be opened, read or written."""


class InterchangeError(TunerError):
    """A file of another tuner cannot be read or written; the message names the file and the place in it."""
