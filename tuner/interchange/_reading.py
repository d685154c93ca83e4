"""Safe reading: bounded size, strict JSON, one-line errors; nothing in a file is ever executed."""

import gzip
import json
import math
import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from tuner.core.errors import InterchangeError
from tuner.core.space import Value

# A recorded space of 350,000 configurations with twenty numbers each has 7 million keys and 300 MB.
MAX_BYTES = 400 * 2**20
MAX_KEYS = 9_000_000
MAX_PARAMETERS = 200
MAX_TEXT = 2000
_NAME = re.compile(r"[\w.:/+\- ]{1,100}")


def shown(path: Path) -> str:
    """A file name fit for a one-line message."""
    return repr(str(path))[1:-1][:200]


def clip(value: object, length: int = 60) -> str:
    """A value as text of one line and bounded length."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            # One byte more than allowed tells a bomb without unpacking it.
            data: bytes = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InterchangeError(f"{shown(path)} does not exist") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InterchangeError(f"{shown(path)} is truncated or damaged: its gzip stream breaks off") from None
    except OSError as error:
        raise InterchangeError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise InterchangeError(f"{shown(path)} unpacks to more than {MAX_BYTES >> 20} MiB")
    return data


def read_json(path: Path) -> Any:
    """The content of a JSON file, plain or gzipped.

    Raises:
        InterchangeError: it cannot be read, is truncated, too large, too deep, not JSON, names a key twice
            in one object, or has a number that is not finite.
    """
    data = _read_bytes(path)
    if data.count(b'":') + data.count(b'" :') > MAX_KEYS:
        raise InterchangeError(f"{shown(path)} has more than {MAX_KEYS:,} keys")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
            raise InterchangeError(f"{shown(path)} has the key {clip(twice)} twice in one object")
        return result

    def constant(name: str) -> NoReturn:
        raise InterchangeError(f"{shown(path)} has the number {name}, which is no time and not JSON")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except UnicodeDecodeError:
        raise InterchangeError(f"{shown(path)} is not a text file in UTF-8") from None
    except RecursionError:
        raise InterchangeError(f"{shown(path)} nests too deeply to be a results file") from None
    except json.JSONDecodeError as error:
        begun, ended = data.lstrip()[:1] in (b"{", b"["), data.rstrip()[-1:] in (b"}", b"]")
        what = "is truncated" if begun and (not ended or error.pos >= len(data.rstrip())) else "is not JSON"
        raise InterchangeError(f"{shown(path)} {what}: {error.msg} at line {error.lineno}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise InterchangeError(f"{shown(path)} has a number of too many digits") from None


class Fields:
    """Typed access to an object of a file, with errors that say where.

    Args:
        content: what should be an object.
        where: for messages: the file, and the place in it.
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise InterchangeError(f"{where} is not an object but {clip(content)}")
        self.content: Mapping[str, Any] = content
        self.where = where

    def get(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """A field of a type; required where `default` is `None`."""
        if name not in self.content:
            if default is None:
                raise InterchangeError(f"{self.where} lacks {name!r}")
            return default
        value = self.content[name]
        if not isinstance(value, kind):
            raise InterchangeError(f"{self.where}: {name!r} cannot be {clip(value)}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A text of bounded length and printable characters."""
        value: str = self.get(name, str, default)
        if len(value) > MAX_TEXT or not value.isprintable():
            raise InterchangeError(f"{self.where}: {name!r} cannot be {clip(value)}")
        return value

    def timestamp(self, name: str) -> str:
        """An ISO 8601 time, or nothing."""
        value = self.text(name, "")
        if value:
            try:
                datetime.fromisoformat(value)
            except ValueError:
                problem = f"{name!r} is not an ISO 8601 time: {clip(value)}"
                raise InterchangeError(f"{self.where}: {problem}") from None
        return value

    def seconds(self, name: str, unit: float) -> float | None:
        """A duration; `None` where it is absent."""
        if name not in self.content:
            return None
        return duration(self.content[name], unit, f"{self.where}: {name!r}", zero=True)


def duration(value: Any, unit: float, where: str, zero: bool = False) -> float:
    """Seconds of a recorded number, divided by `unit` (1000 for milliseconds)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InterchangeError(f"{where} is not a number but {clip(value)}")
    try:
        number = float(value) / unit
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise InterchangeError(f"{where} is not a time: {clip(value)}")
    return number


def plain_name(name: Any, where: str) -> str:
    """The name of a parameter or a metric: one line, no markup, bounded length."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name or name.startswith("/"):
        raise InterchangeError(f"{where}: {clip(name)} is not a name")
    return name


def plain_value(value: Any, where: str) -> Value:
    """A plain value of a parameter."""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, str) and len(value) <= 200 and value.isprintable():
        return value
    raise InterchangeError(f"{where}: {clip(value)} is not a parameter's value")


def in_unit(seconds: float, unit: float) -> float | None:
    """The number that reads back as exactly these seconds when divided by `unit`; `None` if there is none."""
    guess = seconds * unit
    for candidate in (guess, math.nextafter(guess, 0), math.nextafter(guess, math.inf)):
        if candidate / unit == seconds:
            return candidate
    return None
