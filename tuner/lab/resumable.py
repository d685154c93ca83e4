"""Benches that stop when their time is over, and go on from what they kept when they are run again."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.core.output_file import put


def minutes(text: str) -> float:
    """`--minutes` of the command line.

    Raises:
        argparse.ArgumentTypeError: it is no number above 0.
    """
    return _above_0(text, "minutes")


def seconds(text: str) -> float:
    """As `minutes`, of options that take seconds."""
    return _above_0(text, "seconds")


def _above_0(text: str, unit: str) -> float:
    try:
        given = float(text)
    except ValueError:
        given = 0.0
    if not 0 < given < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: {unit} are a number above 0")
    return given


def read_kept(path: Path) -> dict[str, Any]:
    """Results by the fingerprint of the device; nothing where there is no file.

    Raises:
        TunerError: the file is none of a bench.
    """
    try:
        kept = json.loads(path.read_text()) if path.exists() else {}
        if not isinstance(kept, dict) or not all("cases" in run for run in kept.values()):
            raise ValueError("it has no cases")
    except (OSError, ValueError, TypeError) as error:
        raise TunerError(f"{path} is no file of this bench ({error}): move it away") from None
    return kept


def write_kept(path: Path, kept: Mapping[str, Any]) -> None:
    """The file that `read_kept` reads; whole, or as it was.

    Raises:
        TunerError: it cannot be written.
    """
    put(path, json.dumps(kept, indent=1) + "\n")


def concluded(measure: Callable[[], tuple[int, int]], page: Path, kept_in: Path) -> int:
    """Measures, says how far it came, and returns the exit code: 1 where comparisons are missing.

    Args:
        measure: how many comparisons are missing afterwards, and of how many.
        page: which they are written to; there is none before the first.
        kept_in: where everything measured is kept.
    """
    try:
        missing, wanted = measure()
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; what was measured is in {kept_in}, the same command goes on", file=sys.stderr)
        return 130
    where = page if page.exists() else f"no page yet, trials are kept in {kept_in}"
    print(f"{wanted - missing} of {wanted} comparisons: {where}")
    if missing:
        print(f"{missing} are missing: the same command goes on with them")
    return 1 if missing else 0
