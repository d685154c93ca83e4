"""Configurations from a file, to be measured: plain ones, or those of what the lab prints and exports.

A file is a JSON list of objects, or objects one a line (JSON lines). An object is a configuration,
`{"TILE_M": 64, "TILE_N": 32}`, or a record with one under `config`, as `tuner best --json`,
`tuner show t12 --json` and `tuner export FILE --format json` write them; `kernel` and `workload` of a record
say what it is of. What `tuner export --best --format json` writes, and an exported library, are read too
(`exported.py`).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tuner.core.errors import InterchangeError
from tuner.core.space import Config, Value
from tuner.core.trace_space import LONGEST
from tuner.interchange._fields import MAX_PARAMETERS, Fields, clip, plain_name, plain_value
from tuner.interchange._reading import NotJson, parse_json, read_text, shown
from tuner.interchange.exported import read_entries

_MOST = 100_000
_OURS = "kernel-tuner-lab/"
_WANTED = 'give a list of configurations, or one a line: {"TILE_M": 64} or {"kernel": "...", "config": {...}}'


@dataclass(frozen=True)
class NamedConfig:
    """A configuration that somebody named.

    Attributes:
        config: plain values; whether a kernel has it is not known here.
        kernel: its kernel; empty where that is not said.
        workload: key of the workload it was measured at; empty where that is not said.
        where: for messages: the file, and the place in it.
    """

    config: Config
    kernel: str = ""
    workload: str = ""
    where: str = ""


def read_named(file: Path) -> list[NamedConfig]:
    """The configurations of a file, in its order.

    Raises:
        InterchangeError: it cannot be read, is no JSON, or has something else than configurations.
        TunerError: it is an export without entries.
    """
    if file.is_dir():
        return _exported(file)
    name = shown(file)
    text = read_text(file)
    try:
        content = parse_json(text, name)
    except NotJson as error:
        # One object a line is no JSON document; whatever else is none is told as it was found.
        if not _is_object(text.lstrip().partition("\n")[0]):
            raise InterchangeError(f"{error}; {_WANTED}") from None
        # One more than there may be, so that a file of millions is not read to its end.
        found = [_one(parse_json(line, at), at) for at, line in islice(_lines(text, name), _MOST + 1)]
    else:
        if isinstance(content, dict) and str(content.get("format", "")).startswith(_OURS):
            return _exported(file)
        listed = content if isinstance(content, list) else [content]
        alone = len(listed) == 1 and not isinstance(content, list)
        found = [
            _one(each, name if alone else f"{name}: entry {number}")
            for number, each in enumerate(listed[: _MOST + 1], 1)
        ]
    if not found:
        raise InterchangeError(f"{name} has no configurations: {_WANTED}")
    if len(found) > _MOST:
        raise InterchangeError(f"{name} has more than {_MOST:,} configurations")
    return found


def read_config(text: str, where: str) -> Config:
    """The configuration of a text that is a JSON object.

    Args:
        text: as somebody typed it.
        where: for messages.

    Raises:
        InterchangeError: it is no JSON object, or has something else than parameters with plain values.
    """
    content = parse_json(text, where)
    return _config(Fields(content, where).content, where)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Each line that is not blank, with its place."""
    # Not by `splitlines`: JSON's texts may have Unicode's separators of lines in them.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{name} line {number}", line


def _exported(file: Path) -> list[NamedConfig]:
    return [
        NamedConfig(entry.config, entry.kernel, entry.workload, f"{shown(file)}: {entry.workload}")
        for entry in read_entries(file)
    ]


def _one(content: Any, where: str) -> NamedConfig:
    if not isinstance(content, dict):
        raise InterchangeError(f"{where} is {clip(content)}, not a configuration: {_WANTED}")
    fields = Fields(content, where)
    # With a kernel or a workload beside it `config` is that of a record, and no parameter of this name.
    record = "config" in content and ("kernel" in content or "workload" in content)
    if not record and not isinstance(content.get("config"), dict):
        return NamedConfig(_config(content, where), where=where)
    if not isinstance(content["config"], dict):
        raise InterchangeError(f"{where}: 'config' cannot be {clip(content['config'])}: {_WANTED}")
    config = _config(content["config"], where)
    return NamedConfig(config, _said(fields, "kernel"), _said(fields, "workload"), where)


def _said(fields: Fields, name: str) -> str:
    return fields.text(name, "") if fields.content.get(name) is not None else ""


def _config(given: Mapping[str, Any], where: str) -> Config:
    if len(given) > MAX_PARAMETERS:
        raise InterchangeError(f"{where} has more than {MAX_PARAMETERS} parameters")
    return {plain_name(name, where): _value(name, value, where) for name, value in given.items()}


def _value(name: str, value: Any, where: str) -> Value:
    # A trace of MetaSchedule is a parameter's value too, and longer than any other.
    if isinstance(value, str) and len(value) <= LONGEST and value.isprintable():
        return value
    return plain_value(value, f"{where}: {clip(name)}")
