"""Nothing above the plug-ins asks for a device, a target, an operator or a searcher by a literal name.

What is special about one of them it says itself (a trait: an attribute or a method of its base class), so
that a plug-in is asked the same question. The walk reads syntax trees, however a comparison is spelled.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner import registry
from tuner.engine.candidate.described import DescribedDevice

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "core", "engine", "cli", "report", "serve", "export", "model", "integrations", "interchange", "lab",
)  # fmt: skip
# The lab's benches are of something, and a graph's nodes are certain operators: they ask for them by name.
ASK_BY_NAME = {"lab", "model"}
# Words of their own beside being a searcher's name: a launch has a grid, a database is MetaSchedule's. They
# count where the other side of a comparison speaks of a searcher.
COMMON_WORDS = {"grid", "random", "local", "auto", "transfer", "metaschedule", "optuna"}
LOOKUPS = {
    "get",
    "pop",
    "setdefault",
    "startswith",
    "endswith",
    "removeprefix",
    "removesuffix",
    "index",
    "count",
    "find",
    "match",
    "fullmatch",
    "issubset",
    "issuperset",
    "isdisjoint",
    "intersection",
    "difference",
    "eq",
    "ne",
    "contains",
    "__eq__",
    "__ne__",
    "__contains__",
    "__getitem__",
}
# Of the registry and the engine: what they are asked for by name.
ASKED = {"operator", "searcher", "target_kind", "kernels_of", "default_device", "find_device"}


def names() -> set[str]:
    kinds = (registry.device_classes(), registry.target_kinds(), registry.operators(), registry.searchers())
    return {name for found in kinds for name in found} | {DescribedDevice.name, "replay"}


def classes() -> set[str]:
    """The classes of those names: `isinstance(device, CpuDevice)` is the same question."""
    made = [
        type(x).__name__ for found in (registry.target_kinds(), registry.operators()) for x in found.values()
    ]
    listed = [
        x.__name__ for found in (registry.device_classes(), registry.searchers()) for x in found.values()
    ]
    return {*made, *listed}


def spelled(node: ast.AST, constants: dict[str, ast.AST]) -> Iterator[str]:
    """The texts that an expression holds: a literal, a collection of literals, the keys of a dictionary, or a
    constant of the module that is one of these."""
    if isinstance(node, ast.Name) and node.id in constants:
        yield from spelled(constants[node.id], {})
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for item in node.elts:
            yield from spelled(item, constants)
    elif isinstance(node, ast.Dict):
        for key in node.keys:
            if key is not None:
                yield from spelled(key, constants)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("frozenset", "set", "tuple", "dict"):
        for argument in node.args:
            yield from spelled(argument, constants)


def compared(tree: ast.AST, asked: bool) -> Iterator[tuple[int, list[ast.expr], str]]:
    """(line, expressions that are compared, source text of all of it) for every comparison and lookup."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield node.lineno, [node.left, *node.comparators], ast.unparse(node)
        elif isinstance(node, ast.Subscript):
            yield node.lineno, [node.value, node.slice], ast.unparse(node)
        elif isinstance(node, ast.Match):
            patterns = [
                p.value
                for case in node.cases
                for p in ast.walk(case.pattern)
                if isinstance(p, ast.MatchValue)
            ]
            yield node.lineno, patterns, f"match {ast.unparse(node.subject)}"
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if isinstance(node.func, ast.Call) and getattr(node.func.func, "id", "") == "getattr":
                called = str(getattr(node.func.args[1], "value", ""))  # getattr(registry, "operator")("gemm")
            if called in LOOKUPS and isinstance(node.func, ast.Attribute | ast.Call):
                owner = [node.func.value] if isinstance(node.func, ast.Attribute) else list(node.func.args)
                yield node.lineno, [*owner, *node.args], ast.unparse(node)
            elif asked and called in ASKED:
                yield node.lineno, list(node.args), ast.unparse(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.Sub):
            yield node.lineno, [node.left, node.right], ast.unparse(node)  # {"cuda"} & kinds
        elif isinstance(node, ast.Attribute) and node.attr in ("__eq__", "__ne__", "__contains__"):
            yield node.lineno, [node.value], ast.unparse(node)  # any(map("cuda".__eq__, kinds))


def asked_for_class(tree: ast.AST, known: set[str]) -> list[str]:
    """What asks whether something is of a plug-in's class, or of a class of its name."""
    found = []
    for node in ast.walk(tree):
        named: set[str] = set()
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            named = {getattr(n, "attr", getattr(n, "id", "")) for n in ast.walk(node.args[1])}
        elif isinstance(node, ast.MatchClass):
            named = {getattr(node.cls, "attr", getattr(node.cls, "id", ""))}
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            named = (
                {str(n.value) for n in sides if isinstance(n, ast.Constant)}
                if any(getattr(n, "attr", "") in ("__name__", "__qualname__") for n in sides)
                else {n.id for n in sides if isinstance(n, ast.Name)}
            )
        found += [f"{getattr(node, 'lineno', 0)}: asks for class {name}" for name in sorted(named & known)]
    return found


def violations(text: str, known: set[str], asked: bool = True) -> list[str]:
    tree = ast.parse(text)
    constants: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            constants.update({t.id: node.value for t in targets if isinstance(t, ast.Name)})
    found = []
    for line, sides, source in compared(tree, asked):
        for side in sides:
            # `cuda:sm_80` and `cuda:` name a kind as well.
            named = {word.partition(":")[0] for word in spelled(side, constants)} & known
            rest = " ".join(ast.unparse(s) for s in sides if s is not side) + source.partition("(")[0]
            if "device.type" in rest:
                continue  # torch's word for where a tensor lies
            if not any(hint in rest for hint in ("searcher", "strategy", "asked", "match")):
                named -= COMMON_WORDS
            found += [f"{line}: {source[:100]} asks for {name!r}" for name in sorted(named)]
    return found


@pytest.mark.parametrize(
    "text",
    [
        'if device.target.kind == "cuda": pass',
        'if "cpu" != target.kind: pass',
        'if name in ("cpu", "cuda"): pass',
        'if k.searcher == "metaschedule": pass',
        'if asked not in ["auto", kernel.searcher]: pass',
        'if "cuda" in kernel.target_kinds: pass',
        '_GPU = "cuda"\nif kind == _GPU: pass',
        '_KINDS = ("auto", "transfer")\nif request.searcher in _KINDS: pass',
        '_KINDS = frozenset({"gemm"})\nif operator in _KINDS: pass',
        'match operator, rank:\n    case "gemm", 2: pass',
        'match device.name:\n    case "emulated" | "described": pass',
        'run = {"cuda": f, "cpu": g}[target.kind]',
        'x = getattr(registry, "operator")("gemm")',
        'x = getattr(kinds, "get")("cuda")',
        'if {"cuda"} & set(kernel.target_kinds): pass',
        'rest = set(kinds) - {"cuda"}',
        'if {"cuda"}.issubset(kinds): pass',
        'if any(map("cuda".__eq__, kinds)): pass',
        'if operator.eq(kind, "cuda"): pass',
        'if re.match("cuda", kind): pass',
        'if kind.find("cuda") == 0: pass',
        '_GUESSES: dict[str, int] = {"gemm": 1}\nx = _GUESSES.get(operator.name, {})',
        '_GUESSES = dict({"conv2d": 1})\nx = _GUESSES[operator.name]',
        'device = registry.device_classes()["cpu"]',
        'device = registry.device_classes().get("cpu")',
        'if target.startswith("cpu"): pass',
        'if target.startswith(("cuda:", "hip:")): pass',
        'arch = name.removeprefix("cuda:")',
        'if target.name == "cuda:sm_80": pass',
        'operator = registry.operator("gemm")',
        'device = find_device("cpu")',
        'x = registry.kernels_of(operator, "cuda")',
        "x = 1 if spec.device.kind == 'replay' else 2",
        "if (kind := device.name) == 'emulated': pass",
        "assert lambda k: k.kind == 'cuda'",
    ],
)  # fmt: skip
def test_a_planted_name_is_found(text: str) -> None:
    assert violations(text, names() | {"gemm", "conv2d", "attention"})


@pytest.mark.parametrize(
    "text",
    [
        'if isinstance(device, CpuDevice): pass',
        'if isinstance(device, (x.CpuDevice, Other)): pass',
        'if type(device) is CpuDevice: pass',
        'if type(device).__name__ == "CpuDevice": pass',
        'match device:\n    case CpuDevice(): pass',
    ],
)  # fmt: skip
def test_a_planted_class_is_found(text: str) -> None:
    assert asked_for_class(ast.parse(text), classes())


@pytest.mark.parametrize(
    "text",
    [
        'if device.shares_cpu: pass',
        'grid = declared["grid"]',
        'if kind == other.kind: pass',
        'searcher: str = "random"',
        'row = {"device": info.kind, "cpu": 1}',
        'print("cuda")',
        'x = registry.operator(name)',
        'if tensor.device.type != "cuda": pass',
        'device = CpuDevice()',
        'if isinstance(device, Emulator): pass',
    ],
)  # fmt: skip
def test_what_is_no_comparison_with_a_name_passes(text: str) -> None:
    assert violations(text, names()) + asked_for_class(ast.parse(text), classes()) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_literal_name_is_compared(folder: str) -> None:
    known = names()
    files = sorted((ROOT / "tuner" / folder).rglob("*.py"))
    assert files
    asked = folder not in ASK_BY_NAME
    found = [
        f"{p.relative_to(ROOT)}:{v}"
        for p in files
        for text in [p.read_text()]
        for v in violations(text, known, asked) + asked_for_class(ast.parse(text), classes())
    ]
    assert found == []
