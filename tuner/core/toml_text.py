"""TOML from outside: bounded, and whatever is wrong with it is one line."""

import tomllib
from typing import Any

# The longest experiment and the longest head comment are a hundredth of this.
MAX_CHARS = 200_000
# A key of n dotted parts takes the parser n * n steps: seconds for 20,000, a minute for 100,000.
MAX_DOTS = 5_000
MAX_DEPTH = 12


class NotToml(ValueError):
    """A text is not TOML, or is larger or deeper than anything that is read here; one line."""


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML text.

    Raises:
        NotToml: it does not parse, is too long, or nests too deeply.
    """
    if len(text) > MAX_CHARS:
        raise NotToml(f"it has more than {MAX_CHARS:,} characters")
    if text.count(".") > MAX_DOTS:
        raise NotToml(f"it has more than {MAX_DOTS:,} dots: its keys nest too deeply")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise NotToml("it nests too deeply") from None
    except ValueError as error:  # TOMLDecodeError; a number of more digits than Python converts
        raise NotToml(" ".join(str(error).split())[:300]) from None
    level: list[Any] = [values]
    for _ in range(MAX_DEPTH):
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [item for items in inner for item in items]
    if level:
        raise NotToml("it nests too deeply")
    return values
