"""What several kernels declare alike: named groups of entries, in the head comment of a header they include.

docs/kernel-headers.md says how they are written (`/*[tuner.shared]`) and taken (`use`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.core.brief import brief
from tuner.core.errors import InvalidSpace, UnknownName
from tuner.core.expression import parse
from tuner.core.found_files import read_file
from tuner.core.toml_text import NotToml, parse_toml

TABLES = ("parameters", "let", "constraints", "features", "supports", "macros", "workspace")
"""What a group may hold; all else is a kernel's own."""

_SHARED = re.compile(r"/\*\[tuner\.shared\][ \t]*\n(.*?)\*/", re.DOTALL)


def with_shared(declared: Mapping[str, Any], included: Sequence[Path]) -> dict[str, Any]:
    """A declaration with the entries of the groups that its `use` names.

    Entries of a group stand before the kernel's own, but a definition (`[let]`) that uses one of the kernel's
    stands behind that.

    Args:
        declared: the TOML at the head of a kernel's file.
        included: headers of that file, where the groups are looked for.

    Returns:
        The declaration as if all of it stood in the file.

    Raises:
        InvalidSpace: `use` is no list of texts, or names a group that no header has or two have; a header's
            groups are not well formed; an entry is declared twice.
    """
    names = declared.get("use", [])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InvalidSpace(f"use is a list of texts, not {brief(names)}")
    if not names:
        return dict(declared)
    groups = _groups(included)
    merged: dict[str, dict[str, Any]] = {}
    for name in names:
        if name not in groups:
            if not groups:
                raise InvalidSpace(f"use {brief(name)}: no header that the file includes has [tuner.shared]")
            raise InvalidSpace(f"use: {UnknownName('group of declarations', name, list(groups))}")
        if names.count(name) > 1:
            raise InvalidSpace(f"use names {brief(name)} twice")
        for table, entries in groups[name].items():
            _add(merged.setdefault(table, {}), entries, f"[{table}] of the used {name}")
    for table, entries in merged.items():
        own = declared.get(table, {})
        if not isinstance(own, dict):
            raise InvalidSpace(f"[{table}] is a table, not {brief(own)}")
        shared = dict(entries)
        _add(entries, own, f"[{table}] of this file")
        if table == "let":
            merged[table] = _in_order(shared, own)
    return {**declared, **merged}


def _add(entries: dict[str, Any], more: Mapping[str, Any], where: str) -> None:
    if twice := next((key for key in more if key in entries), None):
        raise InvalidSpace(f"{brief(twice)} is declared twice: by a used group, and in {where}")
    entries.update(more)


def _groups(headers: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """All groups that these headers declare, by name."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in headers:
        text = read_file(path).decode(errors="replace").replace("\r\n", "\n")
        match = _SHARED.search(text)
        if match is None:
            continue
        try:
            groups = parse_toml(match[1])
        except NotToml as error:
            raise InvalidSpace(f"[tuner.shared] of {path.name} is not TOML: {error}") from None
        for name, tables in groups.items():
            _check_group(path.name, name, tables)
            if name in found:
                raise InvalidSpace(f"the group {brief(name)} of declarations stands in two headers")
            found[name] = tables
    return found


def _check_group(header: str, name: str, tables: Any) -> None:
    known = isinstance(tables, dict) and all(
        table in TABLES and isinstance(entries, dict) for table, entries in tables.items()
    )
    if not known:
        raise InvalidSpace(
            f"[tuner.shared] of {header}: {brief(name)} is a group of tables {', '.join(TABLES)}"
        )


def _in_order(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Definitions in an order in which each may use those above it; the own ones stay in theirs."""
    uses = {name: _names(text) & (shared.keys() | own.keys()) for name, text in shared.items()}
    ordered: dict[str, Any] = {}

    def place_shared() -> None:
        ready = [""]
        while ready:
            ready = [name for name in shared if name not in ordered and uses[name] <= ordered.keys()]
            ordered.update((name, shared[name]) for name in ready)

    for name, text in own.items():
        place_shared()
        ordered[name] = text
    place_shared()
    # What is left uses itself, or one below it: `Definitions` says so.
    return {**ordered, **{name: text for name, text in shared.items() if name not in ordered}}


def _names(text: Any) -> frozenset[str]:
    try:
        return frozenset(parse(text).names)
    except InvalidSpace:  # `Definitions` says what is wrong with it
        return frozenset()
