"""`[maps]` of a declaration: tensors that a CUDA kernel fetches by the copy engine."""

from collections.abc import Iterator, Mapping
from typing import Any

from tuner.core.brief import brief
from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.expression import Expression
from tuner.core.operator import Operator
from tuner.core.source import Argument
from tuner.core.tensor_map import TensorMap, Windows

_LISTS, _WINDOWS = ("dims", "box"), ("lower", "upper", "steps")
_KEYS = {"tensor", "swizzle", *_LISTS, *_WINDOWS}


def check_maps(declared: Mapping[str, Any], cuda: bool, operator: Operator) -> None:
    """Raises `InvalidSpace` for a map that names no tensor, or has other keys than it should.

    Args:
        declared: the declaration.
        cuda: whether it is of a CUDA kernel.
        operator: that it computes.
    """
    for name, table in declared.get("maps", {}).items():
        where = f"[maps] {brief(name)[1:-1]}"
        if not cuda:
            raise InvalidSpace(f"{where}: only CUDA kernels have maps")
        if not isinstance(table, dict) or not {"tensor", "dims", "box"} <= table.keys() <= _KEYS:
            raise InvalidSpace(
                f"{where} has tensor, dims and box, and swizzle where it is not 0 (of windows lower, upper "
                "and steps)"
            )
        _check_lists(where, table)
        if table["tensor"] not in operator.tensors:
            known = ", ".join(operator.tensors)
            raise InvalidSpace(f"{where}: tensor is one of {known}, not {brief(table['tensor'])}")
        if name in (*operator.tensors, *operator.dims, *operator.options, *declared.get("let", {})):
            raise InvalidSpace(f"{where} is the name of something else too: give it another")


def _check_lists(where: str, table: Mapping[str, Any]) -> None:
    windows = [key in table for key in _WINDOWS]
    if any(windows) and not all(windows):
        raise InvalidSpace(f"{where}: windows have lower, upper and steps, all three")
    for key in (*_LISTS, *(_WINDOWS if all(windows) else ())):
        if not isinstance(table[key], list) or not 1 <= len(table[key]) <= 5:
            raise InvalidSpace(f"{where}: {key} is a list of one to five expressions")
    dims, box, *corners = (len(table[key]) for key in (*_LISTS, *_WINDOWS) if key in table)
    if not corners and dims != box:
        raise InvalidSpace(f"{where}: dims and box are of one length")
    if corners and (box != 2 or any(corner != dims - 2 for corner in corners)):
        raise InvalidSpace(
            f"{where}: of windows box has channels and pixels, and lower, upper and steps two fewer than dims"
        )


def written_maps(declared: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The expressions of `[maps]`: (table, key, text)."""
    for name, table in declared.get("maps", {}).items():
        if not isinstance(table, dict):
            continue  # `check_maps` says so
        for key in (*_LISTS, *_WINDOWS):
            for i, text in enumerate(table.get(key, ()) if isinstance(table.get(key), list) else ()):
                yield "maps", f"{name} {key} {i}", str(text)
        yield "maps", f"{name} swizzle", str(table.get("swizzle", 0))


def map_argument(
    name: str, declared: Mapping[str, Any], rule: Mapping[str, Expression], scope: Mapping[str, Any]
) -> Argument:
    """The argument that a map stands for, of a workload and a configuration.

    Args:
        name: of the map.
        declared: the declaration.
        rule: its expressions by the keys of `written_maps`.
        scope: of expressions.

    Raises:
        InvalidConfig: the copy engine does not take it.
    """
    table = declared["maps"][name]
    dims, box, lower, upper, steps = (
        tuple(int(rule[f"{name} {key} {i}"](scope)) for i in range(len(table.get(key, ()))))
        for key in (*_LISTS, *_WINDOWS)
    )
    windows = Windows(lower, upper, steps) if steps else None
    swizzle = int(rule[f"{name} swizzle"](scope))
    made = TensorMap(dims, box, int(scope["element_bytes"]), swizzle, windows)
    if problem := made.problem():
        raise InvalidConfig(f"map {name} of {table['tensor']}: {problem}")
    return made.argument(table["tensor"])
