"""What is whole of a Kernel Tuner cache that is still being written, or whose writer was killed."""

import re

# An unfinished string runs to the end, so that no later quote is tried as its beginning.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)


def whole_entries(text: str) -> tuple[str, str] | None:
    """The cache closed behind its last whole configuration, and what was left out behind that.

    Args:
        text: a JSON text that ends too early.

    Returns:
        (text, rest), or `None` where not one configuration of a top-level `cache` is whole.
    """
    depth, key, inside, end = 0, "", False, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in ("{", "["):
            if depth == 1:
                inside = token == "{" and key == '"cache"'
            depth += 1
        elif token in ("}", "]"):
            depth -= 1
            if depth == 2 and inside and token == "}":
                end = match.end()
            elif depth <= 0:
                return None  # it is closed: something else is wrong with it
        elif depth == 1:
            key = token
    return (text[:end] + "}}", text[end:].strip(" \t\r\n,}")) if end else None
