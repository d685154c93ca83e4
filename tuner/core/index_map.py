"""TVM's serialized index maps, checked before TVM reads them.

TVM's form of a graph can hold any object TVM has, calls of registered functions among them. An index map,
which says how a layout is transformed, needs integer arithmetic on its variables and nothing more.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_KEYS = frozenset({"root_index", "nodes", "metadata"})
_MOST_NODES = 1000
# As trees: shared nodes make small graphs of huge expressions.
_MOST_TREE = 10_000
_INT = 2**31
_PLAIN_TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,300}")

_EXPRESSIONS = frozenset(
    {"ir.Var", "ir.IntImm", "prim.Add", "prim.Sub", "prim.Mul", "prim.FloorDiv", "prim.FloorMod"}
)
_SPAN, _TYPE, _LINE = frozenset({"None", "ir.Span"}), frozenset({"ir.PrimType"}), None
_BINARY = {"a": _EXPRESSIONS, "b": _EXPRESSIONS, "span": _SPAN, "ty": _TYPE}
# Of each node its fields, and of each field the nodes it may be; `None` for a number that stands for itself.
_FIELDS: Mapping[str, Mapping[str, frozenset[str] | None]] = {
    "tirx.IndexMap": {
        "initial_indices": frozenset({"ffi.Array"}), "final_indices": frozenset({"ffi.Array"}),
        "inverse_index_map": frozenset({"None", "tirx.IndexMap"}),
    },
    "ir.Var": {"name": frozenset({"ffi.String"}), "span": _SPAN, "ty": _TYPE},
    "ir.IntImm": {"value": frozenset({"int"}), "span": _SPAN, "ty": _TYPE},
    "ir.PrimType": {"dtype": _LINE, "span": _SPAN},
    "ir.Span": {
        "source_name": frozenset({"ir.SourceName"}), "line": _LINE, "column": _LINE, "end_line": _LINE,
        "end_column": _LINE,
    },
    **{name: _BINARY for name in _EXPRESSIONS if name.startswith("prim.")},
}  # fmt: skip


def is_index_map(text: str) -> bool:
    """Whether a text is a serialized index map of integer arithmetic and nothing else."""
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(graph, dict) or not {"root_index", "nodes"} <= graph.keys() <= _KEYS:
        return False
    told = graph.get("metadata", {})
    if not isinstance(told, dict) or not told.keys() <= {"tvm_version"}:
        return False
    nodes, root = graph["nodes"], graph["root_index"]
    if not isinstance(nodes, list) or len(nodes) > _MOST_NODES or not _is_index(root, len(nodes)):
        return False
    before: list[tuple[str, int]] = []
    for node in nodes:
        size = _size(node, before)
        if size is None or size > _MOST_TREE:
            return False
        before.append((node["type"], size))
    return before[root][0] == "tirx.IndexMap"


def _is_index(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def _size(node: Any, before: Sequence[tuple[str, int]]) -> int | None:
    """How many nodes a node is as a tree; `None` if it is not allowed.

    Args:
        node: of the graph.
        before: type and size of those before it: it may be made of these only, so that
            nothing is a part of itself.
    """
    if (
        not isinstance(node, dict)
        or not node.keys() <= {"type", "data"}
        or not isinstance(node.get("type"), str)
    ):
        return None
    kind, data = node["type"], node.get("data")
    if kind in _FIELDS:
        return _size_of_fields(_FIELDS[kind], data, before)
    if kind == "ffi.Array":
        if not isinstance(data, list) or not all(_is_index(part, len(before)) for part in data):
            return None
        if any(before[part][0] not in _EXPRESSIONS for part in data):
            return None
        return 1 + sum(before[part][1] for part in data)
    plain = {
        "None": data is None,
        "int": type(data) is int and -_INT <= data < _INT,
        "ffi.String": isinstance(data, str) and _PLAIN_TEXT.fullmatch(data) is not None,
        "ir.SourceName": isinstance(data, str) and _PLAIN_TEXT.fullmatch(data) is not None,
    }
    return 1 if plain.get(kind) else None


def _size_of_fields(
    fields: Mapping[str, frozenset[str] | None], data: Any, before: Sequence[tuple[str, int]]
) -> int | None:
    if not isinstance(data, dict) or data.keys() != fields.keys():
        return None
    size = 1
    for name, kinds in fields.items():
        value = data[name]
        if kinds is None:
            if value not in ("int32", "int64") if name == "dtype" else not _is_index(value, _INT):
                return None
        elif not _is_index(value, len(before)) or before[value][0] not in kinds:
            return None
        else:
            size += before[value][1]
    return size
