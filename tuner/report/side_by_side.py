"""A unified diff as two columns: what was on the left, what is on the right."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


@dataclass(frozen=True, slots=True)
class Line:
    """One row.

    Attributes:
        kind: `same`, `changed`, or `gap` where lines that are alike were left out.
        left, right: number and text of each side; `None` where it has no such line.
    """

    kind: str
    left: tuple[int, str] | None = None
    right: tuple[int, str] | None = None


def side_by_side(diff: str) -> list[Line]:
    """The rows of a unified diff; removed and added lines that follow each other share rows."""
    rows: list[Line] = []
    removed: list[tuple[int, str]] = []
    added: list[tuple[int, str]] = []
    left = right = 0
    started = False
    for text in diff.splitlines():
        if (match := _HUNK.match(text)) is not None:
            rows += _pairs(removed, added)
            if started:
                rows.append(Line("gap"))
            left, right, started = int(match[1]), int(match[2]), True
        elif not started:
            continue  # the two names above the first hunk
        elif text.startswith("-"):
            removed.append((left, text[1:]))
            left += 1
        elif text.startswith("+"):
            added.append((right, text[1:]))
            right += 1
        else:
            rows += _pairs(removed, added)
            rows.append(Line("same", (left, text[1:]), (right, text[1:])))
            left, right = left + 1, right + 1
    return [*rows, *_pairs(removed, added)]


def _pairs(removed: list[tuple[int, str]], added: list[tuple[int, str]]) -> Iterator[Line]:
    for i in range(max(len(removed), len(added))):
        yield Line("changed", removed[i] if i < len(removed) else None, added[i] if i < len(added) else None)
    removed.clear()
    added.clear()
