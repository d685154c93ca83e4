"""What a Triton kernel is made of: its source, what it calls, and the values it reads from outside.

Triton's own key of a kernel holds the line its source begins at, so that results would be lost with every
line added above it in the file.
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

_PLAIN = (bool, int, float, str, tuple, list, type(None))


def kernel_digest(function: Any) -> str:
    """Identifies a kernel's source and that of everything it calls, wherever their files are and move to.

    Args:
        function: what `@triton.jit` made, or what stands around it: `@triton.heuristics`, whose functions
            count too.
    """
    parts: dict[str, None] = {}
    while function is not None and not inspect.isfunction(function):
        for name, value in sorted(getattr(function, "values", {}).items()):
            parts[f"heuristic {name}\n{_text(value)}"] = None
        if hasattr(function, "arg_names") and inspect.isfunction(getattr(function, "fn", None)):
            break
        function = getattr(function, "fn", None)
    for part in _parts(function, set()):
        parts[part] = None
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def function_digest(function: Any) -> str:
    """The same of a plain Python function: a hook, a benchmarker."""
    return hashlib.sha256(_text(function).encode()).hexdigest()[:8]


def plain_function(function: Any) -> Any:
    """The Python function inside decorators, as far as there is one."""
    while not inspect.isfunction(function) and hasattr(function, "fn"):
        function = function.fn
    return function


def _text(function: Any) -> str:
    function = plain_function(function)
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)  # typed in: its code is what there is
        return repr((code.co_code, code.co_consts)) if code else type(function).__qualname__


def _parts(function: Any, seen: set[int]) -> Iterator[str]:
    plain = plain_function(function)
    if id(plain) in seen:
        return
    seen.add(id(plain))
    # Triton lets `src` be replaced: what it compiles is what counts.
    text = getattr(function, "src", None) or _text(plain)
    yield f"{getattr(plain, '__name__', '')}\n{text}"
    if not inspect.isfunction(plain):
        return
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    known = {**plain.__globals__, **inspect.getclosurevars(plain).nonlocals}
    for name, value in _referred(tree, known):
        if _is_kernel(value):
            yield from _parts(value, seen)
        elif hasattr(value, "value") and type(value).__name__ == "constexpr":
            yield f"{name}={value.value!r}"
        elif isinstance(value, _PLAIN):
            yield f"{name}={value!r}"


def _referred(tree: ast.AST, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and dotted names in a function that mean something outside of it, in the order of the text."""
    local = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in known and node.id not in local:
            yield node.id, known[node.id]
        elif isinstance(node, ast.Attribute):
            value = _dotted(node, known)
            if value is not None:
                yield ast.unparse(node), value


def _dotted(node: ast.Attribute, known: Mapping[str, Any]) -> Any:
    """What `module.name` means, of modules that are not Triton's own: those belong to its version."""
    base = node.value
    if isinstance(base, ast.Name):
        holder = known.get(base.id)
    else:
        holder = _dotted(base, known) if isinstance(base, ast.Attribute) else None
    if not isinstance(holder, ModuleType) or holder.__name__.split(".")[0] == "triton":
        return None
    return getattr(holder, node.attr, None)


def _is_kernel(value: Any) -> bool:
    """Whether `@triton.jit` made it, for the compiler or the interpreter, outside of Triton itself."""
    function = plain_function(value)
    if not inspect.isfunction(function) or function is value:
        return False
    return hasattr(value, "fn") and function.__module__.split(".")[0] != "triton"
