"""Expressions of constraints, launch geometry and flags: a small, safe subset of Python.

Names, numbers, strings, arithmetic, comparisons, `and`/`or`/`not`, `a if b else c`, `in (…)` and the
functions in `FUNCTIONS`. One declaration serves twice: evaluated on one configuration (to say why it
is invalid) and on NumPy columns of many (to enumerate a space).
"""

import ast
import math
from collections.abc import Mapping
from functools import cached_property, lru_cache, reduce
from types import CodeType
from typing import Any

import numpy as np

from tuner.core.errors import InvalidSpace


def _ceildiv(a: int, b: int) -> int:
    return -(-a // b)


def _log2(value: float) -> float:
    return math.log2(value)


# Scalar and column versions of the functions an expression may call.
FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "min": (min, lambda *columns: reduce(np.minimum, columns)),
    "max": (max, lambda *columns: reduce(np.maximum, columns)),
    "abs": (abs, np.abs),
    "int": (int, lambda column: np.asarray(column).astype(np.int64)),
    "ceildiv": (_ceildiv, _ceildiv),
    "log2": (_log2, lambda column: np.log2(np.asarray(column, dtype=float))),
}
_SCALAR_SCOPE = {"__builtins__": {}, **{name: pair[0] for name, pair in FUNCTIONS.items()}}
_COLUMN_SCOPE = {
    "__builtins__": {},
    **{name: pair[1] for name, pair in FUNCTIONS.items()},
    "_and": lambda *parts: reduce(np.logical_and, parts),
    "_or": lambda *parts: reduce(np.logical_or, parts),
    "_not": np.logical_not,
    "_where": np.where,
    "_isin": lambda value, options: np.isin(value, np.asarray(options)),
}
_NODES = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add,
    ast.Sub, ast.Mult, ast.FloorDiv, ast.Div, ast.Mod, ast.Pow, ast.LShift, ast.RShift, ast.BitAnd,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.IfExp,
    ast.Call, ast.Name, ast.Load, ast.Constant, ast.Tuple,
)  # fmt: skip


class _Columns(ast.NodeTransformer):
    """Rewrites what NumPy columns do not support: and/or/not, chained comparisons, if-else, in."""

    def _call(self, name: str, *args: ast.expr) -> ast.expr:
        return ast.Call(func=ast.Name(id=name, ctx=ast.Load()), args=list(args), keywords=[])

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        return self._call("_and" if isinstance(node.op, ast.And) else "_or", *node.values)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return self._call("_not", node.operand) if isinstance(node.op, ast.Not) else node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        return self._call("_where", node.test, node.body, node.orelse)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        parts: list[ast.expr] = []
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                part = self._call("_isin", left, right)
                parts.append(self._call("_not", part) if isinstance(op, ast.NotIn) else part)
            else:
                parts.append(ast.Compare(left=left, ops=[op], comparators=[right]))
            left = right
        return parts[0] if len(parts) == 1 else self._call("_and", *parts)


def _names(node: ast.AST) -> frozenset[str]:
    called = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in called)


def _compile(node: ast.expr, columns: bool) -> CodeType:
    # Parsing the text again leaves the original tree untouched by the rewrite.
    tree = ast.parse(ast.unparse(node), mode="eval")
    if columns:
        tree = ast.fix_missing_locations(_Columns().visit(tree))
    return compile(tree, "<constraint>", "eval")


class Expression:
    """A parsed expression; equal texts share one object (see `parse`).

    Raises:
        InvalidSpace: the text is not in the subset.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except SyntaxError as error:
            raise InvalidSpace(f"expression {text!r} does not parse: {error.msg}") from None
        for node in ast.walk(tree):
            if not isinstance(node, _NODES):
                raise InvalidSpace(f"expression {text!r} may not use {type(node).__name__}")
            if isinstance(node, ast.Call) and not (
                isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords
            ):
                raise InvalidSpace(f"expression {text!r} may call only {', '.join(sorted(FUNCTIONS))}")
        self.tree: ast.expr = tree.body
        self.names = _names(tree)

    @cached_property
    def _scalar_code(self) -> CodeType:
        return _compile(self.tree, columns=False)

    @cached_property
    def _column_code(self) -> CodeType:
        return _compile(self.tree, columns=True)

    def __call__(self, scope: Mapping[str, Any]) -> Any:
        """The value for one configuration.

        Raises:
            InvalidSpace: a name is missing from `scope`, or the arithmetic fails (division by zero).
        """
        try:
            return eval(self._scalar_code, dict(_SCALAR_SCOPE), scope)
        except NameError as error:
            raise InvalidSpace(f"expression {self.text!r}: {error}") from None
        except (ArithmeticError, TypeError, ValueError) as error:
            raise InvalidSpace(f"expression {self.text!r} cannot be evaluated: {error}") from None

    def columns(self, scope: Mapping[str, Any]) -> Any:
        """The value for many configurations at once: `scope` holds equally long NumPy columns.

        Both sides of `and`, `or` and `if-else` are evaluated; a division by zero on the side that is
        not chosen gives 0 without a warning.
        """
        with np.errstate(all="ignore"):
            return eval(self._column_code, dict(_COLUMN_SCOPE), scope)

    def bound_parts(self, bound: frozenset[str]) -> list["Expression"]:
        """The largest subexpressions whose names are all in `bound` (constants alone are left out).

        For `a * b * c <= 64` and {a, b}: `a * b`. These values are all that the rest of the
        expression can depend on once `bound` is fixed.
        """
        found: dict[str, Expression] = {}

        def visit(node: ast.AST) -> None:
            names = _names(node)
            if isinstance(node, ast.expr) and names and names <= bound:
                text = ast.unparse(node)
                found.setdefault(text, parse(text))
                return
            for child in ast.iter_child_nodes(node):
                visit(child)

        visit(self.tree)
        return list(found.values())

    def fold(self, constants: Mapping[str, Any]) -> "Expression":
        """The same expression with the given names replaced by their values."""
        if not (self.names & constants.keys()):
            return self

        class Substitute(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                return ast.Constant(constants[node.id]) if node.id in constants else node

        return parse(ast.unparse(Substitute().visit(ast.parse(self.text.strip(), mode="eval"))))

    def reordered(self, order: Mapping[str, int]) -> "Expression":
        """The same value with the operands of sums and products in the order their names are bound.

        `c * a * b` with a, b, c bound in this order becomes `a * b * c`, so that what is already bound
        stands together as one subexpression. Chains with a float are left alone: rounding would move.
        """

        def place(node: ast.expr) -> int:
            return max((order[name] for name in _names(node) if name in order), default=-1)

        def flatten(node: ast.expr, op: type[ast.operator]) -> list[ast.expr]:
            if isinstance(node, ast.BinOp) and isinstance(node.op, op):
                return flatten(node.left, op) + flatten(node.right, op)
            return [node]

        class Reorder(ast.NodeTransformer):
            def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
                inexact = any(
                    isinstance(n, ast.Div) or (isinstance(n, ast.Constant) and isinstance(n.value, float))
                    for n in ast.walk(node)
                )
                if not isinstance(node.op, ast.Mult | ast.Add) or inexact:
                    self.generic_visit(node)
                    return node
                operands = [self.visit(operand) for operand in flatten(node, type(node.op))]
                operands.sort(key=place)
                chain: ast.expr = operands[0]
                for operand in operands[1:]:
                    chain = ast.BinOp(chain, node.op, operand)
                return chain

        tree = Reorder().visit(ast.parse(self.text.strip(), mode="eval").body)
        return parse(ast.unparse(tree))

    def explain(self, scope: Mapping[str, Any]) -> str:
        """The expression with what its names stand for: `a * b <= 64 (a=16, b=8)`."""
        values = ", ".join(f"{name}={scope[name]}" for name in sorted(self.names) if name in scope)
        return f"{self.text} ({values})" if values else self.text

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """The expression of a text, parsed once."""
    return Expression(text)
