"""A file of shapes with how often each occurs."""

import re
from pathlib import Path

from tuner.core.brief import brief
from tuner.core.errors import TunerError
from tuner.core.found_files import UnreadableFile, read_file
from tuner.core.operator import Operator
from tuner.core.workload import Workload

_COUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")


def read_shapes(file: Path, operator: Operator, dtype: str) -> dict[Workload, float]:
    """Shapes with their weights, in order; those of a shape that occurs twice add up.

    A line is a shape as `tuner sweep --shape` takes it, then `* 12` where it occurs so often; `#` begins a
    remark.

    >>> # 1024x1024x1024 * 12
    >>> # m64 n4096 k4096 bias relu

    Raises:
        TunerError: the file cannot be read or has no shape; a line is none: names file and line.
    """
    try:
        text = read_file(file).decode()
    except (UnreadableFile, UnicodeDecodeError) as error:
        raise TunerError(
            f"{file}: {error if isinstance(error, UnreadableFile) else 'it is no text'}"
        ) from None
    found: dict[Workload, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        shape = line.partition("#")[0].strip()
        if not shape:
            continue
        shape, counted, count = (part.strip() for part in shape.partition("*"))
        if counted and not _COUNT.fullmatch(count):
            raise TunerError(
                f"{file}, line {number}: {brief(count)} is no count; write one behind the *, like "
                f"'{operator.example} * 12'"
            )
        weight = float(count) if counted else 1.0
        try:
            workload = operator.parse(shape, dtype)
        except TunerError as error:
            raise TunerError(f"{file}, line {number}: {error}") from None
        if weight <= 0:
            raise TunerError(f"{file}, line {number}: a shape occurs more than 0 times")
        found[workload] = found.get(workload, 0.0) + weight
    if not found:
        raise TunerError(f"{file} has no shape; write one a line, like '{operator.example} * 12'")
    return found
