"""The column form of expressions: one constraint evaluated for many configurations at once.

Gives for every row what `Expression.__call__` gives for that row alone: `and`, `or` and `if-else`
choose before they evaluate, whole numbers are exact beyond 64 bits, booleans add up as 0 and 1, and
where the arithmetic has no value (a division by zero) the row is marked as undefined.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.errors import InvalidSpace
from tuner.core.expression import FUNCTIONS, Expression, power, shift_left

Mask = np.ndarray | None  # bool, broadcastable to the values; None: no row


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """One value a row, and which rows have none.

    Attributes:
        values: bool, int64, float64, text, or object (Python numbers beyond 64 bits, or mixed types).
        undefined: rows whose arithmetic has no value; what `values` holds there means nothing.
    """

    values: np.ndarray
    undefined: Mask = None

    def take(self, rows: np.ndarray, length: int) -> "ValueColumn":
        """The rows of the given numbers, of a column that may still be a single value for all."""
        undefined = None if self.undefined is None else np.broadcast_to(self.undefined, length)[rows]
        return ValueColumn(np.broadcast_to(self.values, length)[rows], undefined)

    def repeat(self, times: int) -> "ValueColumn":
        """Every row `times` times in a row."""
        undefined = None if self.undefined is None else np.repeat(self.undefined, times)
        return ValueColumn(np.repeat(self.values, times), undefined)

    def holds(self, length: int) -> np.ndarray:
        """bool[length]: where the value is defined and true."""
        true = np.broadcast_to(_truth(self.values), length)
        return true if self.undefined is None else true & ~self.undefined


def column(values: Sequence[Any], wide: bool = False) -> ValueColumn:
    """Values of plain types as a column; `wide` keeps Python's unlimited integers."""
    kinds = {type(value) for value in values}
    uniform = kinds <= {bool} or kinds == {float} or kinds == {str}
    whole = kinds == {int} and not wide and all(-(2**62) < v < 2**62 for v in values)
    if uniform or whole:
        return ValueColumn(np.array(values))
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return ValueColumn(result)


def needs_wide(expression: Expression, domains: Mapping[str, Sequence[Any]]) -> bool:
    """Whether something in the expression could leave 64-bit integers, or the 53 bits of a float."""
    largest = {name: max((abs(v) for v in values if not isinstance(v, str)), default=0)
               for name, values in domains.items()}  # fmt: skip
    nodes = [n for n in ast.walk(expression.tree) if isinstance(n, ast.expr)]
    inexact = any(
        (isinstance(n, ast.Constant) and isinstance(n.value, float))
        or (isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div))
        or (isinstance(n, ast.Name) and any(isinstance(v, float) for v in domains.get(n.id, ())))
        for n in nodes
    )
    return max(_magnitude(n, largest) for n in nodes) >= 2.0 ** (53 if inexact else 62)


def _magnitude(node: ast.AST, largest: Mapping[str, float]) -> float:
    """A bound on the absolute value of a node; 1 for truth values."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return abs(float(value)) if abs(value) < 2**1000 else math.inf
        case ast.Name(id=name):
            return float(min(largest.get(name, 0), 2.0**1000))
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _magnitude(left, largest), _magnitude(right, largest)
            try:
                match op:
                    case ast.Mult():
                        return a * b
                    case ast.Pow():
                        return float(max(a, 1.0) ** b)
                    case ast.LShift():
                        return float(a * 2.0**b)
                    case ast.Add() | ast.Sub():
                        return a + b
                    case _:
                        return max(a, b)
            except OverflowError:
                return math.inf
        case ast.IfExp(body=body, orelse=other):
            return max(_magnitude(body, largest), _magnitude(other, largest))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _magnitude(operand, largest)
        case ast.Call(args=args):
            return max(_magnitude(argument, largest) for argument in args)
    return 1.0


def evaluate(expression: Expression, known: Mapping[str, ValueColumn], wide: bool = False) -> ValueColumn:
    """The value of an expression in every row.

    Args:
        expression: what to evaluate.
        known: columns by the text of a subexpression; names are the smallest of those.
        wide: whether whole numbers may exceed 64 bits (`needs_wide`).

    Raises:
        InvalidSpace: a name is not known, or the types do not go together.
    """
    try:
        with np.errstate(all="ignore"):
            return _Evaluator(expression.texts, known, wide).visit(expression.tree)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise InvalidSpace(f"expression {expression.text!r} cannot be evaluated: {error}") from None


class _Evaluator:
    def __init__(self, texts: Mapping[int, str], known: Mapping[str, ValueColumn], wide: bool) -> None:
        self._texts, self._known, self._wide = texts, known, wide

    def visit(self, node: ast.expr) -> ValueColumn:
        known = self._known.get(self._texts[id(node)])
        if known is not None:
            return known
        match node:
            case ast.Constant(value=value):
                return ValueColumn(np.array(value, dtype=object if self._wide else None))
            case ast.Name(id=name):
                raise InvalidSpace(f"name {name!r} is not defined")
            case ast.BoolOp(op=op, values=operands):
                return self._choose([self.visit(operand) for operand in operands], isinstance(op, ast.Or))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.visit(operand)
                return ValueColumn(~_truth(inner.values), inner.undefined)
            case ast.UnaryOp(operand=operand):
                inner = self.visit(operand)
                return ValueColumn(np.asarray(-_number(inner.values)), inner.undefined)
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(op, self.visit(left), self.visit(right))
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                operands = [left, *comparators]
                parts = [self._compare(op, operands[i], operands[i + 1]) for i, op in enumerate(ops)]
                return self._choose(parts, stop=False)
            case ast.IfExp(test=test, body=body, orelse=other):
                return _where(self.visit(test), self.visit(body), self.visit(other))
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, [self.visit(argument) for argument in args])
        raise TypeError(f"{type(node).__name__} has no value")

    def _choose(self, parts: list[ValueColumn], stop: bool) -> ValueColumn:
        """`or` (stop is true) and `and`: what stands behind the first part equal to `stop` is not seen."""
        value = _truth(parts[0].values)
        undefined = parts[0].undefined
        for part in parts[1:]:
            seen = value != stop
            if part.undefined is not None:
                undefined = _either(undefined, part.undefined & seen)
            value = np.where(seen, _truth(part.values), value)
        return ValueColumn(value, undefined)

    def _compare(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> ValueColumn:
        a = self.visit(left)
        if isinstance(op, ast.In | ast.NotIn):
            assert isinstance(right, ast.Tuple | ast.List)
            options = [self.visit(option) for option in right.elts]
            value: np.ndarray = np.array(False)
            undefined = a.undefined
            for option in options:
                value = value | _compared(ast.Eq(), a.values, option.values)
                undefined = _either(undefined, option.undefined)
            return ValueColumn(~value if isinstance(op, ast.NotIn) else value, undefined)
        b = self.visit(right)
        return ValueColumn(_compared(op, a.values, b.values), _either(a.undefined, b.undefined))

    def _arithmetic(self, op: ast.operator, left: ValueColumn, right: ValueColumn) -> ValueColumn:
        undefined = _either(left.undefined, right.undefined)
        if isinstance(op, ast.BitAnd):
            return ValueColumn(np.asarray(left.values & right.values), undefined)
        a, b = _number(left.values), _number(right.values)
        if isinstance(op, ast.Pow | ast.LShift):
            return self._elementwise(power if isinstance(op, ast.Pow) else shift_left, [a, b], undefined)
        if isinstance(op, ast.Div | ast.FloorDiv | ast.Mod):
            zero = np.asarray(b == 0, dtype=bool)
            b, undefined = _replace(b, zero), _either(undefined, zero)
        elif isinstance(op, ast.RShift):
            negative = np.asarray(b < 0, dtype=bool)
            b, undefined = _replace(b, negative), _either(undefined, negative)
        value = np.asarray(_BINARY[type(op)](a, b))
        # Two single values give a plain integer: it must not shrink back to 64 bits.
        return ValueColumn(value.astype(object) if self._wide else value, undefined)

    def _call(self, name: str, args: list[ValueColumn]) -> ValueColumn:
        undefined: Mask = None
        for argument in args:
            undefined = _either(undefined, argument.undefined)
        numbers = [_number(argument.values) for argument in args]
        if name in ("min", "max"):
            pick = np.minimum if name == "min" else np.maximum
            value = numbers[0]
            for number in numbers[1:]:
                value = np.asarray(pick(value, number))
            return ValueColumn(value, undefined)
        if name == "abs":
            return ValueColumn(np.asarray(np.abs(numbers[0])), undefined)
        if name == "int" and numbers[0].dtype.kind == "i":
            return ValueColumn(numbers[0], undefined)
        if name == "ceildiv":
            zero = np.asarray(numbers[1] == 0, dtype=bool)
            quotient = -(-numbers[0] // _replace(numbers[1], zero))
            return ValueColumn(np.asarray(quotient), _either(undefined, zero))
        return self._elementwise(FUNCTIONS[name][0], numbers, undefined)

    def _elementwise(
        self, function: Callable[..., Any], args: list[np.ndarray], undefined: Mask
    ) -> ValueColumn:
        """A Python function row by row: slower, and exactly the scalar form."""

        def attempt(*values: Any) -> Any:
            try:
                return function(*values)
            except ArithmeticError:
                return None

        raw = np.asarray(np.frompyfunc(attempt, len(args), 1)(*args), dtype=object)
        failed = np.array([value is None for value in raw.flat], dtype=bool).reshape(raw.shape)
        values = np.where(failed, 0, raw)
        if not self._wide:
            kinds = {type(value) for value in values.flat}
            values = values.astype(np.float64 if float in kinds else np.int64)
        return ValueColumn(values, _either(undefined, failed))


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder,
    ast.RShift: np.right_shift,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}


def _either(a: Mask, b: Mask) -> Mask:
    if a is None or b is None:
        either = b if a is None else a
        return either if either is None or either.any() else None
    return a | b


def _replace(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A harmless 1 in rows that have no value anyway: Python's integers raise where NumPy's warn."""
    return np.where(rows, 1, values) if rows.any() else values


def _number(values: np.ndarray) -> np.ndarray:
    """Booleans count as 0 and 1, as Python's do; NumPy's `True + True` is `True`."""
    if values.dtype.kind == "U":
        raise TypeError("text can only be compared")
    if values.dtype == bool:
        return values.astype(np.int64)
    if values.dtype == object:
        return np.asarray(np.frompyfunc(_plain, 1, 1)(values), dtype=object)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        raise TypeError("text can only be compared")
    return int(value) if isinstance(value, bool) else value


def _truth(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return np.asarray(np.frompyfunc(bool, 1, 1)(values), dtype=bool)
    return values != "" if values.dtype.kind == "U" else values.astype(bool)


def _compared(op: ast.cmpop, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        # NumPy would turn numbers into text; Python compares the objects.
        a, b = a.astype(object), b.astype(object)
    return np.asarray(_COMPARE[type(op)](a, b), dtype=bool)


def _where(test: ValueColumn, body: ValueColumn, other: ValueColumn) -> ValueColumn:
    chosen = _truth(test.values)
    undefined = test.undefined
    if body.undefined is not None:
        undefined = _either(undefined, body.undefined & chosen)
    if other.undefined is not None:
        undefined = _either(undefined, other.undefined & ~chosen)
    a, b = body.values, other.values
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        a, b = a.astype(object), b.astype(object)
    return ValueColumn(np.where(chosen, a, b), undefined)
