"""Hostile inputs from valid ones: seeded mutations of texts and of JSON values, deep nesting by a grammar."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

# What parsers stumble over: limits, nothing, other alphabets, escapes, words of other languages.
TOKENS = (
    "NaN", "Infinity", "-Infinity", "nan", "inf", "1e999", "-1e999", "9" * 25, "9" * 400, "9" * 5000, "-1",
    "0", "-0.0", "1e-320", "0x10", "null", "true", "false", "None", "\x00", "\x1b[2J", "\ud800", "\\ud800",
    "\u202e", "é", "٣", "²", "\ufeff", "\r", "\n", "\\", '"', "'", "'''", '"""', "{", "}", "[", "]", "(", ")",
    ",", ":", "=", "#", "*/", "/*", "**", "<<", ">>", "//", "%", " in ", " and ", " or ", "not ", "if",
    "else", "lambda", "9**9**9", "1<<10**9", "__import__('os')", "a.b", "{}", "[]", "2026-01-01T00:00:00",
    "0001-01-01 00:00:00+23:59",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.0, -0.0, 1e308, -1e308, float("nan"), float("inf"), 10**25, 10**400,
    -(10**400), 2**63, 2**64, "", "late", "\x1b[2J", "\ud800", "x" * 3000, [], {}, [[]], [None], {"": 0},
    {"a": {}}, "9" * 5000,
)  # fmt: skip


def nested(rng: random.Random, opening: str, closing: str, leaf: str = "0") -> str:
    """Brackets in brackets, a few or many thousand deep, closed or not."""
    depth = rng.choice((2, 8, 50, 99, 150, 400, 990, 1010, 5000, 100_000 if rng.random() < 0.02 else 3000))
    return opening * depth + leaf + (closing * depth if rng.random() < 0.8 else "")


def text(rng: random.Random, seeds: Sequence[str], nests: Sequence[tuple[str, str]]) -> str:
    """A valid text with one to a few flips, insertions, deletions, repetitions or splices."""
    made = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(made) + 1)
        end = min(len(made), at + rng.choice((1, 1, 2, 5, 20, 200)))
        what = rng.randrange(8)
        if what == 0:
            made = made[:at] + rng.choice(TOKENS) + made[at:]
        elif what == 1:
            made = made[:at] + rng.choice(TOKENS) + made[end:]
        elif what == 2:
            made = made[:at] + made[end:]
        elif what == 3:
            made = made[:at] + made[at:end] * rng.choice((2, 3, 50)) + made[end:]
        elif what == 4:
            other = rng.choice(seeds)
            cut = rng.randrange(len(other) + 1)
            made = made[:at] + other[cut : cut + rng.choice((3, 30, 300))] + made[end:]
        elif what == 5:
            made = made[:at] + chr(rng.randrange(1, 256)) + made[end:]
        elif what == 6:
            made = made[:at] + nested(rng, *rng.choice(nests)) + made[end:]
        else:
            made = made[:at]
        if len(made) > 400_000:
            break
    return made


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        _places(item, found)


def value(rng: random.Random, seeds: Sequence[Any]) -> Any:
    """A valid JSON value with a few of its parts replaced, dropped, renamed, repeated or swapped."""
    made = copy.deepcopy(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places: list[tuple[Any, Any]] = []
        _places(made, places)
        if not places:
            return rng.choice(ODD)
        holder, key = rng.choice(places)
        what = rng.randrange(7)
        if what <= 2:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif what == 3:
            del holder[key]
        elif what == 4 and isinstance(holder, dict):
            holder[rng.choice(("", "time", "\x1b", "status", "a" * 500, str(key) + " "))] = holder.pop(key)
        elif what == 5:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place]) if other is not holder else other[place]
        elif isinstance(holder, list):
            holder.extend([copy.deepcopy(holder[key])] * rng.choice((1, 5, 300)))
    return made


def dumped(content: Any) -> str:
    """JSON with all that a careless writer lets through: NaN, lone surrogates, huge numbers."""
    try:
        return json.dumps(content)
    except ValueError:  # an integer of more digits than Python writes
        return "[" + "9" * 5000 + "]"


def hunt(
    make: Callable[[random.Random], Any], judge: Callable[[Any], None], count: int, seed: int, first: int = 0
) -> list[str]:
    """What goes wrong in `count` inputs: one line an input, the first twenty.

    Args:
        make: an input of a generator of its own, so that one input can be made again by its number.
        judge: raises where the input is handled wrongly.
        count, seed, first: which inputs.
    """
    wrong: list[str] = []
    for number in range(first, first + count):
        given = make(random.Random(f"{seed}/{number}"))
        try:
            judge(given)
        except Exception as error:
            what = f"{type(error).__name__}: {str(error)[:200]!r}: {repr(given)[:300]}"
            wrong.append(f"input {number} of seed {seed}: {what}")
            if len(wrong) == 20:
                break
    return wrong
