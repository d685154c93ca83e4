"""Named sub-expressions (`[let]` of a kernel's declaration): said once, used in every expression."""

import ast
import re
from collections.abc import Mapping
from typing import Any

from tuner.core.brief import brief
from tuner.core.errors import InvalidSpace
from tuner.core.expression import FUNCTIONS, Expression, Undefined, nodes_of, parse

# Ten definitions, each the square of the one above, would fill all memory: x0 * x0, x1 * x1, ...
MAX_NODES = 4000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")


class Definitions:
    """Names that stand for expressions; each may use those above it.

    >>> tile = Definitions({"area": "BM * BN", "threads": "area // 64"})
    >>> tile.expand("threads <= 1024").text
    'BM * BN // 64 <= 1024'

    Args:
        texts: expressions by name, in the order of the declaration.

    Raises:
        InvalidSpace: an expression is none, uses a name that stands below it or itself, or is endless when
            written out; begins with the name of the definition.
    """

    def __init__(self, texts: Mapping[str, Any]) -> None:
        self.written: dict[str, Expression] = {}
        """The expressions as they are declared."""
        self._expanded: dict[str, Expression] = {}
        for name, text in texts.items():
            if not _NAME.fullmatch(name) or name in FUNCTIONS:
                raise InvalidSpace(f"{brief(name)} is no name for an expression")
            try:
                self.written[name] = parse(text)
            except InvalidSpace as error:
                raise InvalidSpace(f"{name}: {error}") from None
        for name, expression in self.written.items():
            if below := sorted(expression.names & (self.written.keys() - self._expanded.keys())):
                raise InvalidSpace(f"{name}: {self._disorder(name, below[0])}")
            self._expanded[name] = self.expand(expression.text)

    def _disorder(self, name: str, used: str) -> str:
        """What is wrong with a definition that uses one that is not above it."""
        paths, seen = [[name, used]], {used}
        while paths:
            path = paths.pop()
            if path[-1] == name:
                return f"the definitions run in a circle, {' -> '.join(path)}"
            new = (self.written[path[-1]].names & self.written.keys()) - seen
            seen |= new
            paths += [[*path, each] for each in new]
        return f"it uses {used}, which stands below it: move {used} above {name}"

    def __contains__(self, name: object) -> bool:
        return name in self.written

    def expand(self, text: str) -> Expression:
        """An expression with every defined name written out, so that it is over parameters and constants.

        Raises:
            InvalidSpace: the text is no expression, or has thousands of terms when it is written out.
        """
        expression = parse(text)
        used = expression.names & self._expanded.keys()
        if not used:
            return expression
        nodes = nodes_of(expression.tree)[0]
        sizes = {name: len(nodes_of(self._expanded[name].tree)[0]) for name in used}
        names = (n.id for n in nodes if isinstance(n, ast.Name) and n.id in sizes)
        if len(nodes) + sum(sizes[name] for name in names) > MAX_NODES:
            raise InvalidSpace(f"expression {brief(text)} has over {MAX_NODES} terms with [let] written out")
        trees = {name: self._expanded[name].tree for name in used}
        return parse(ast.unparse(_Written(trees).visit(ast.parse(text.strip(), mode="eval").body)))

    def explain(self, text: str, scope: Mapping[str, Any]) -> str:
        """An expression with what its names stand for, and what stands behind those that are defined here:
        `threads <= most (most=1024, threads=2048), where BM=128, BN=256`."""
        written, expanded = parse(text), self.expand(text)
        values = dict(scope)
        for name in written.names & self._expanded.keys():
            try:
                values[name] = self._expanded[name](scope)
            except Undefined:  # a division by zero in a branch that is not taken
                values[name] = "undefined"
        behind = sorted((expanded.names - written.names) & scope.keys())
        where = ", where " + ", ".join(f"{name}={scope[name]}" for name in behind) if behind else ""
        return written.explain(values) + where


class _Written(ast.NodeTransformer):
    """Puts trees in the place of names."""

    def __init__(self, trees: Mapping[str, ast.expr]) -> None:
        self._trees = trees

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._trees.get(node.id, node)


NONE = Definitions({})
"""No definitions."""
