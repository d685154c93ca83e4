"""Expressions of constraints, launch geometry and flags: a small, safe subset of Python.

Names, numbers, texts, arithmetic, comparisons, `and`/`or`/`not`, `a if b else c`, `in (…)` and the
functions in `FUNCTIONS`. One declaration serves twice: evaluated on one configuration (to say why it
is invalid) and on NumPy columns of many (`tuner.core.columns`, to enumerate a space). As in Python,
`and`, `or` and `if-else` choose before they evaluate, so `a == 0 or n % a == 0` is safe; other than in
Python, `and` and `or` give true or false, never an operand.
"""

import ast
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from types import CodeType
from typing import Any, ClassVar

from tuner.core.errors import InvalidSpace
from tuner.core.integers import ceildiv

# A number of more bits is refused as having no value: 9 ** 9 ** 9 would take all memory.
MAX_BITS = 1024
# Deeper than any constraint people write, and well inside Python's limit on recursion.
MAX_DEPTH = 100


class Undefined(InvalidSpace):
    """The arithmetic has no value for this configuration: a division by zero, the logarithm of 0."""


def _int(value: float) -> int:
    if not isinstance(value, int | float):
        raise TypeError("int takes a number")
    try:
        return int(value)
    except ValueError:  # NaN
        raise ArithmeticError("not a number has no integer") from None


def _log2(value: float) -> float:
    if value <= 0:
        raise ArithmeticError(f"log2 of {value}")
    return math.log2(value)


def power(base: float, exponent: float) -> float:
    """`base ** exponent` where it is a real number of reasonable size; else an `ArithmeticError`."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > MAX_BITS:
        raise OverflowError(f"{base} ** {exponent} is too large")
    result = base**exponent
    if isinstance(result, complex):
        raise ArithmeticError(f"{base} ** {exponent} is not real")
    return float(result) if isinstance(result, float) else int(result)


def shift_left(value: int, count: int) -> int:
    """`value << count` of reasonable size; else an `ArithmeticError`."""
    if isinstance(value, float) or isinstance(count, float):
        raise TypeError("only whole numbers are shifted")
    if count < 0 or value.bit_length() + count > MAX_BITS:
        raise ArithmeticError(f"{value} << {count} is negative or too large a shift")
    return value << count


def _shift_right(value: int, count: int) -> int:
    if count < 0:
        raise ArithmeticError(f"{value} >> {count} is a negative shift")
    return value >> count


# What an expression may call: the function with the fewest and the most arguments it takes.
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "min": (min, 2, 99),
    "max": (max, 2, 99),
    "abs": (abs, 1, 1),
    "int": (_int, 1, 1),
    "ceildiv": (ceildiv, 2, 2),
    "log2": (_log2, 1, 1),
}
_SCOPE = {
    "__builtins__": {},
    **{name: entry[0] for name, entry in FUNCTIONS.items()},
    "_truth": bool,
    "_power": power,
    "_shift_left": shift_left,
    "_shift_right": _shift_right,
}
_NODES = {
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add,
    ast.Sub, ast.Mult, ast.FloorDiv, ast.Div, ast.Mod, ast.Pow, ast.LShift, ast.RShift, ast.BitAnd,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.IfExp,
    ast.Call, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.List,
}  # fmt: skip


class _Guarded(ast.NodeTransformer):
    """Rewrites what Python would do otherwise: and/or give truth values, powers and shifts are bounded."""

    _CALLS: ClassVar[dict[type[ast.operator], str]] = {
        ast.Pow: "_power",
        ast.LShift: "_shift_left",
        ast.RShift: "_shift_right",
    }

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        return ast.Call(func=ast.Name(id="_truth", ctx=ast.Load()), args=[node], keywords=[])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        name = self._CALLS.get(type(node.op))
        if name is None:
            return node
        return ast.Call(func=ast.Name(id=name, ctx=ast.Load()), args=[node.left, node.right], keywords=[])


def nodes_of(tree: ast.AST) -> tuple[list[ast.AST], int]:
    """Every node of a tree, from level to level, and how many levels there are.

    In a third of the time of `ast.walk`: hundreds of expressions are read whenever kernels are looked for.
    """
    found: list[ast.AST] = []
    level, depth = [tree], 0
    while level:
        found += level
        depth += 1
        values = [getattr(node, name) for node in level for name in node._fields]
        level = []
        for value in values:
            if isinstance(value, ast.AST):
                level.append(value)
            elif isinstance(value, list):
                level += [each for each in value if isinstance(each, ast.AST)]
    return found, depth


def _names(nodes: Iterable[ast.AST]) -> frozenset[str]:
    called = {id(n.func) for n in nodes if isinstance(n, ast.Call)}
    return frozenset(n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in called)


def _tree(text: str) -> ast.expr:
    # ValueError: a null character. The other two: nested beyond what Python's parser takes.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `1if`, `"\d"`: what is wrong with it is said below, or nothing
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise InvalidSpace(f"expression {_short(text)!r} does not parse: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError):
        raise InvalidSpace(f"expression {_short(text)!r} does not parse") from None


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def _sources(node: ast.expr) -> Iterator[ast.expr]:
    """The nodes whose value `node` may take on unchanged: the branches of an if-else."""
    if isinstance(node, ast.IfExp):
        yield from _sources(node.body)
        yield from _sources(node.orelse)
    else:
        yield node


def _operands(nodes: Iterable[ast.AST]) -> Iterator[ast.expr]:
    """What arithmetic is done on: never a text, which would be repeated, joined or formatted."""
    for node in nodes:
        if isinstance(node, ast.BinOp):
            direct = [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            direct = [node.operand]
        elif isinstance(node, ast.Call):
            direct = node.args
        else:
            continue
        for operand in direct:
            yield from _sources(operand)


class Expression:
    """A parsed expression; equal texts share one object (see `parse`).

    Raises:
        InvalidSpace: the text is not in the subset.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = _tree(text)
        nodes, depth = nodes_of(self.tree)
        self._check(nodes, depth)
        self.names = _names(nodes)

    def _check(self, nodes: Sequence[ast.AST], depth: int) -> None:
        text = _short(self.text)
        if depth > MAX_DEPTH:
            raise InvalidSpace(f"expression {text!r} is nested more than {MAX_DEPTH} deep")
        lists = {id(c) for n in nodes if isinstance(n, ast.Compare)
                 for op, c in zip(n.ops, n.comparators, strict=True)
                 if isinstance(op, ast.In | ast.NotIn)}  # fmt: skip
        for node in nodes:
            if type(node) not in _NODES:
                raise InvalidSpace(f"expression {text!r} may not use {type(node).__name__}")
            if isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str):
                raise InvalidSpace(f"expression {text!r} may not use {node.value!r}")
            if isinstance(node, ast.Tuple | ast.List) != (id(node) in lists):
                raise InvalidSpace(f"expression {text!r}: a list stands behind `in`, and only there")
            if isinstance(node, ast.Call):
                self._check_call(node)
        if any(isinstance(o, ast.Constant) and isinstance(o.value, str) for o in _operands(nodes)):
            raise InvalidSpace(f"expression {text!r}: a text can only be compared")

    def _check_call(self, node: ast.Call) -> None:
        text = _short(self.text)
        if not (isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords):
            raise InvalidSpace(f"expression {text!r} may call only {', '.join(sorted(FUNCTIONS))}")
        _, fewest, most = FUNCTIONS[node.func.id]
        if not fewest <= len(node.args) <= most:
            count = f"{fewest} or more" if most > fewest else str(fewest)
            raise InvalidSpace(f"expression {text!r}: {node.func.id} takes {count} arguments")

    def __reduce__(self) -> tuple[Any, ...]:
        # Compiled code cannot be pickled, and what is found by `id(node)` is of this process's tree.
        return parse, (self.text,)

    @cached_property
    def _code(self) -> CodeType:
        # Parsing the text again leaves the original tree untouched by the rewrite.
        tree = ast.Expression(_Guarded().visit(_tree(self.text)))
        return compile(ast.fix_missing_locations(tree), "<constraint>", "eval")

    @cached_property
    def texts(self) -> Mapping[int, str]:
        """The canonical text of every node of `tree`, by `id(node)`."""
        return {id(n): ast.unparse(n) for n in ast.walk(self.tree) if isinstance(n, ast.expr)}

    @cached_property
    def _node_names(self) -> Mapping[int, frozenset[str]]:
        """The names in every node of `tree`, by `id(node)`, from the leaves up: each node is visited once."""
        found: dict[int, frozenset[str]] = {}

        def visit(node: ast.AST) -> frozenset[str]:
            children = ast.iter_child_nodes(node)
            if isinstance(node, ast.Call):  # the function's name is no variable
                children = iter(node.args)
            names = frozenset({node.id} if isinstance(node, ast.Name) else ()).union(*map(visit, children))
            found[id(node)] = names
            return names

        visit(self.tree)
        return found

    @cached_property
    def arithmetic_names(self) -> frozenset[str]:
        """Names that arithmetic is done on, so that no text may stand for them."""
        return frozenset(o.id for o in _operands(nodes_of(self.tree)[0]) if isinstance(o, ast.Name))

    def __call__(self, scope: Mapping[str, Any]) -> Any:
        """The value for one configuration.

        Raises:
            Undefined: the arithmetic has no value (a division by zero).
            InvalidSpace: a name is missing from `scope`, or the types do not go together.
        """
        try:
            return eval(self._code, dict(_SCOPE), scope)
        except NameError as error:
            raise InvalidSpace(f"expression {self.text!r}: {error}") from None
        except ArithmeticError as error:
            raise Undefined(f"expression {self.explain(scope)} has no value: {error}") from None
        except (TypeError, ValueError) as error:
            raise InvalidSpace(f"expression {self.text!r} cannot be evaluated: {error}") from None

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Whether the value is defined and true: how constraints are read.

        Raises:
            InvalidSpace: a name is missing from `scope`, or the types do not go together.
        """
        try:
            return bool(self(scope))
        except Undefined:
            return False

    def bound_parts(self, bound: frozenset[str]) -> list["Expression"]:
        """The largest subexpressions whose names are all in `bound` (constants alone are left out).

        For `a * b * c <= 64` and {a, b}: `a * b`. These values are all that the rest of the
        expression can depend on once `bound` is fixed.
        """
        found: dict[str, Expression] = {}

        def visit(node: ast.AST) -> None:
            names = self._node_names.get(id(node), frozenset())
            is_list = isinstance(node, ast.Tuple | ast.List)  # no value of its own: its elements are
            if isinstance(node, ast.expr) and not is_list and names and names <= bound:
                text = self.texts[id(node)]
                found.setdefault(text, parse(text))
                return
            for child in ast.iter_child_nodes(node):
                visit(child)

        visit(self.tree)
        return list(found.values())

    def fold(self, constants: Mapping[str, Any]) -> "Expression":
        """The same expression with the given names replaced by their values.

        Raises:
            InvalidSpace: a value is not a plain number or text.
        """
        if not (self.names & constants.keys()):
            return self

        class Substitute(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                return _literal(node.id, constants[node.id]) if node.id in constants else node

        return parse(ast.unparse(Substitute().visit(_tree(self.text))))

    def reordered(self, order: Mapping[str, int], inexact: frozenset[str] = frozenset()) -> "Expression":
        """The same value with the operands of sums and products in the order their names are bound.

        `c * a * b` with a, b, c bound in this order becomes `a * b * c`, so that what is already bound
        stands together as one subexpression. Chains with a float are left alone: rounding would move.

        Args:
            order: the place of each name.
            inexact: names that stand for floats.
        """

        def place(node: ast.expr) -> int:
            return max((order[name] for name in _names(nodes_of(node)[0]) if name in order), default=-1)

        def flatten(node: ast.expr, op: type[ast.operator]) -> list[ast.expr]:
            if isinstance(node, ast.BinOp) and isinstance(node.op, op):
                return flatten(node.left, op) + flatten(node.right, op)
            return [node]

        def rounds(node: ast.AST) -> bool:
            match node:
                case ast.Constant(value=float()) | ast.Div() | ast.Pow() | ast.Call(func=ast.Name(id="log2")):
                    return True
                case ast.Name(id=name):
                    return name in inexact
            return False

        class Reorder(ast.NodeTransformer):
            def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
                if not isinstance(node.op, ast.Mult | ast.Add) or any(map(rounds, ast.walk(node))):
                    self.generic_visit(node)
                    return node
                operands = [self.visit(operand) for operand in flatten(node, type(node.op))]
                operands.sort(key=place)
                chain: ast.expr = operands[0]
                for operand in operands[1:]:
                    chain = ast.BinOp(chain, node.op, operand)
                return chain

        return parse(ast.unparse(Reorder().visit(_tree(self.text))))

    def explain(self, scope: Mapping[str, Any]) -> str:
        """The expression with what its names stand for: `a * b <= 64 (a=16, b=8)`."""
        values = ", ".join(f"{name}={scope[name]}" for name in sorted(self.names) if name in scope)
        return f"{self.text} ({values})" if values else self.text

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _literal(name: str, value: Any) -> ast.expr:
    """A constant as Python would write it: a negative number is the negation of a positive one."""
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, bool | int | float | str) or plain != plain:
        raise InvalidSpace(f"constant {name} is a number or a text, not {value!r}")
    if not isinstance(plain, str) and plain < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-plain))
    return ast.Constant(plain)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Expression:
    return Expression(text)


def parse(text: str) -> Expression:
    """The expression of a text, parsed once.

    Raises:
        InvalidSpace: it is not a text, or not in the subset.
    """
    if not isinstance(text, str):  # a declaration in TOML may hold anything
        raise InvalidSpace(f"an expression is a text, not {text!r}")
    return _parsed(text)
