"""Strict JSON of bounded size: what is too large, too wide or too deep is refused before it is parsed.

A parsed value takes up to sixty times its text: `[],[],...` of 400 MB, 370 KB when zipped, would be 9 GB. So
the text is bounded (by the zipped size too), and what values there may be is counted in it first.
"""

import gzip
import json
import math
import stat
import zlib
from pathlib import Path
from typing import Any

from tuner.core.brief import brief
from tuner.core.errors import InterchangeError

# A recorded space of 350,000 configurations with twenty numbers each has 7 million keys and 300 MB.
MAX_BYTES = 400 * 2**20
MAX_KEYS = 9_000_000
# Those 350,000 with 32 times each; and some twenty objects and lists each.
MAX_VALUES = 25_000_000
MAX_CONTAINERS = 8_000_000
# Recorded spaces are a tenth to a thirtieth of their size when zipped; nothing but noughts is a thousandth.
_MOST_RATIO = 200
_ALWAYS_BYTES = 32 * 2**20
_CHUNK = 2**22


class NotJson(InterchangeError):
    """A text is not JSON.

    Attributes:
        unfinished: it begins like JSON and ends in the middle.
    """

    def __init__(self, message: str, unfinished: bool) -> None:
        super().__init__(message)
        self.unfinished = unfinished


def shown(path: Path) -> str:
    """A file name fit for a one-line message."""
    return repr(str(path))[1:-1][:200]


def read_text(path: Path) -> str:
    """The text of a file, plain or gzipped, without the byte order mark that Windows' programs begin with.

    Raises:
        InterchangeError: it is missing, no regular file, damaged, too large, not in UTF-8, or unpacks to far
            more than its own size.
    """
    data = _read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InterchangeError(f"{shown(path)} is not a text file in UTF-8") from None


def _read_bytes(path: Path) -> bytes:
    try:
        known = path.stat()
        if not stat.S_ISREG(known.st_mode):
            # A pipe would keep us waiting, a device never ends.
            raise InterchangeError(f"{shown(path)} cannot be read: it is no file")
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        most = MAX_BYTES
        if zipped:
            most = min(most, max(_ALWAYS_BYTES, _MOST_RATIO * known.st_size))
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            data = bytearray()
            while len(data) <= most and (part := file.read(min(_CHUNK, most + 1 - len(data)))):
                data += part
    except FileNotFoundError:
        raise InterchangeError(f"{shown(path)} does not exist") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InterchangeError(f"{shown(path)} is truncated or damaged: its gzip stream breaks off") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in its name
        reason = getattr(error, "strerror", None) or error
        raise InterchangeError(f"{shown(path)} cannot be read: {reason}") from None
    if len(data) > most:
        far = f", {_MOST_RATIO} times its size" if most < MAX_BYTES else ""
        does = "unpacks to" if zipped else "has"
        raise InterchangeError(f"{shown(path)} {does} more than {most >> 20} MiB{far}")
    return bytes(data)


def check_width(text: str, where: str) -> None:
    """Raises `InterchangeError` where a JSON text may hold more values than any recording."""
    if text.count('":') + text.count('" :') > MAX_KEYS:
        raise InterchangeError(f"{where} has more than {MAX_KEYS:,} keys")
    if text.count("[") + text.count("{") > MAX_CONTAINERS:
        raise InterchangeError(f"{where} has more than {MAX_CONTAINERS:,} lists and objects")
    if text.count(",") > MAX_VALUES:
        raise InterchangeError(f"{where} has more than {MAX_VALUES:,} values")


def parse_json(text: str, where: str, infinite: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        text: all of it.
        where: the file, and the place in it, for messages.
        infinite: whether `Infinity` is a number.

    Raises:
        NotJson: it does not parse, or is blank.
        InterchangeError: it has too many values, nests too deeply, names a key twice in one object, or has a
            number that is not finite or has too many digits.
    """
    check_width(text, where)
    if not text or text.isspace():
        raise NotJson(f"{where} is empty", unfinished=False)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
            raise InterchangeError(f"{where} has the key {brief(twice)} twice in one object")
        return result

    def constant(name: str) -> float:
        if infinite and name == "Infinity":
            return math.inf
        raise InterchangeError(f"{where} has the number {name}, which is not JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except RecursionError:
        raise InterchangeError(f"{where} nests too deeply") from None
    except json.JSONDecodeError as error:
        begun, ended = text.lstrip()[:1] in ("{", "["), text.rstrip()[-1:] in ("}", "]")
        unfinished = bool(begun) and (not ended or error.pos >= len(text.rstrip()))
        # What has an end and goes on lacks nothing.
        what = "is truncated" if unfinished and error.msg != "Extra data" else "is not JSON"
        raise NotJson(f"{where} {what}: {error.msg} at line {error.lineno}", unfinished) from None
    except ValueError:  # an integer of more digits than Python converts
        raise InterchangeError(f"{where} has a number of too many digits") from None
    except MemoryError:
        raise InterchangeError(f"{where} does not fit in memory") from None
