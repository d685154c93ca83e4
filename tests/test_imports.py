"""The dependency rule: who may import whom, and that light commands load nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LEAVES = frozenset(
    {"operators", "builders", "devices", "searchers", "store", "targets", "interchange", "schedules"}
)
# What each role may import besides itself and `core`. A leaf imports `core` alone. The registry finds leaves
# by scanning their folders, so it imports none of them and those that compose may use it.
ALLOWED: dict[str, frozenset[str]] = {
    "core": frozenset(),
    **{leaf: frozenset() for leaf in LEAVES},
    # A device is a target that can run here; targets are data on top of `core`.
    "devices": frozenset({"targets"}),
    "registry": frozenset(),
    "engine": LEAVES | {"registry"},
    "report": frozenset({"store", "registry"}),
    # The pages of the report and of the store in a browser; a candidate is built to be looked at, never run.
    "serve": frozenset({"store", "registry", "report", "engine"}),
    # What leaves the lab: above the engine, below the commands and the three functions of the library.
    "export": LEAVES | {"registry", "engine"},
    # What somebody's program uses in place of another tool's: beside `export`, and the lab has no need of it.
    "integrations": LEAVES | {"registry", "engine"},
    # Whole models: above the engine, beside `export`, which it may load kernels from; below the commands. A
    # server of models listens and lets in as the server of the database does.
    "model": LEAVES | {"registry", "engine", "report", "export", "serve"},
    "lab": LEAVES | {"registry", "engine", "report", "export", "serve", "integrations", "model", "top"},
    "top": LEAVES | {"registry", "engine", "report", "export", "serve", "cli"},
    "cli": LEAVES | {"registry", "engine", "report", "export", "serve", "model", "top"},
}
HEAVY = frozenset(
    {"tvm", "triton", "torch", "cupy", "optuna", "xgboost", "scipy", "sklearn", "pandas", "matplotlib"}
    | {"onnx", "onnxruntime", "openvino", "jax", "sqlalchemy", "alembic", "jinja2", "altair", "vl_convert"}
)
# Modules about one heavy library: imported where it is used, and by nothing that the registry scans.
ABOUT = frozenset(
    {"tuner/builders/tvm/warm.py", "tuner/builders/tvm/tensor_intrin.py", "schedules/gemm/triton/program.py"}
    | {"schedules/conv2d/triton/program.py", "schedules/triton_sums.py", "schedules/triton_activations.py"}
    | {f"schedules/attention/triton/{name}.py" for name in ("tile", "forward_program", "decode_program")}
    | {"tuner/searchers/optuna/bridge.py", "tuner/integrations/triton/autotuner.py"}
)
# Folders of the engine, each of which may import those before it.
ENGINE = (
    "processes", "building", "judging", "candidate", "examine", "tuning", "recorded", "program",
)  # fmt: skip
# The store is about SQLAlchemy: whoever opens a database has loaded it anyway.
HEAVY_AT_TOP = {"store": frozenset({"sqlalchemy", "alembic"})}


def files() -> list[Path]:
    return sorted(p for folder in ("tuner", "schedules") for p in (ROOT / folder).rglob("*.py"))


def role(module: str) -> str:
    """`tuner.core.space` -> core, `tuner.schedules.gemm.tir` -> schedules, `tuner.cli` and `tuner` -> top."""
    parts = module.split(".")
    if parts[0] == "schedules":
        return "schedules"
    if len(parts) == 1 or not (ROOT / "tuner" / parts[1]).is_dir():
        return "registry" if parts[1:2] == ["registry"] else "top"
    return parts[1]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, nodes: Iterator[ast.AST]) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of the import statements among `nodes`."""
    package = path.relative_to(ROOT).parent.parts
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from tuner import engine` imports a folder of the package by a name in its list.
            for alias in node.names:
                inner = ROOT.joinpath(
                    *module.removeprefix("tuner.schedules").strip(".").split("."), alias.name
                )
                if module.startswith("tuner.schedules"):
                    inner = ROOT / "schedules" / inner.relative_to(ROOT)
                is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                yield node.lineno, f"{module}.{alias.name}" if is_module else module


def engine_floor(module: str) -> int:
    """Place of a module's folder in `ENGINE`; of the engine itself, below all."""
    parts = module.split(".")
    return ENGINE.index(parts[2]) if len(parts) > 2 else -1


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Modules that import each other, by any way round."""
    reach = {module: set(direct) for module, direct in imports.items()}
    for through in reach:
        for module in reach:
            if through in reach[module]:
                reach[module] |= reach[through]
    found = {frozenset(b for b in reach if b in reach[a] and a in reach[b]) for a in reach if a in reach[a]}
    return [set(circle) for circle in found]


def at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: all but function bodies and TYPE_CHECKING blocks."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import_time(child)


def violations(path: Path, text: str) -> list[str]:
    """What in a file is against the rule, with line and the rule."""
    tree, here = ast.parse(text), role(module_of(path))
    where = path.relative_to(ROOT)
    if here not in ALLOWED:
        return [f"{where}: folder tuner/{here} has no role in the dependency rule; give it one in {__file__}"]
    found = []
    for line, module in imported(path, ast.walk(tree)):
        library = module.split(".")[0]
        if library == "schedules":
            found.append(f"{where}:{line}: a user's schedules.py may be found: import it as tuner.{module}")
        elif library == "tuner":
            there = role(module)
            if there not in {here, "core"} | ALLOWED[here]:
                found.append(f"{where}:{line}: {here} may not import {module} ({there})")
            elif here == there == "engine" and engine_floor(module) > engine_floor(module_of(path)):
                found.append(f"{where}:{line}: {module} lies above it in the engine")
        elif here == "core" and (path.parent / f"{module}.py").is_file():
            continue  # a script that is started without the package finds its neighbour by its own name
        elif here == "core" and library not in sys.stdlib_module_names | {"numpy", "ml_dtypes"}:
            found.append(
                f"{where}:{line}: core imports the standard library, NumPy and its types only, not {library}"
            )
    for line, module in imported(path, at_import_time(tree)):
        library = module.split(".")[0]
        if library in HEAVY - HEAVY_AT_TOP.get(here, frozenset()) and str(where) not in ABOUT:
            found.append(
                f"{where}:{line}: {library} is imported where it is used, not at the top of a module"
            )
    return found


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_keeps_the_dependency_rule(path: Path) -> None:
    assert violations(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("tuner/core/x.py", "def f():\n    import scipy", "core imports the standard library"),
        ("tuner/core/x.py", "def f():\n    from tuner.operators import gemm", "core may not import tuner.op"),
        ("tuner/operators/x.py", "from tuner import store", "operators may not import tuner.store"),
        ("tuner/operators/x.py", "from ..engine import tune", "operators may not import tuner.engine"),
        ("tuner/searchers/x.py", "import tuner.schedules.gemm", "may not import tuner.schedules.gemm"),
        ("schedules/gemm/x.py", "from schedules.gemm import y", "import it as tuner.schedules.gemm"),
        ("tuner/report/x.py", "import tuner.engine", "report may not import tuner.engine"),
        ("tuner/registry.py", "import tuner.operators.gemm", "registry may not import"),
        ("tuner/engine/x.py", "import tuner.integrations.triton", "engine may not import tuner.integrations"),
        ("tuner/integrations/triton/x.py", "import tuner.report", "integrations may not import tuner.report"),
        ("tuner/integrations/triton/x.py", "import triton", "triton is imported where it is used"),
        ("tuner/engine/x.py", "import tuner.model.graph", "engine may not import tuner.model"),
        ("tuner/engine/x.py", "import tuner.cli", "engine may not import tuner.cli"),
        ("tuner/searchers/x.py", "import optuna", "optuna is imported where it is used"),
        ("tuner/engine/judging/x.py", "import tuner.engine.tuning.sweep", "lies above it in the engine"),
        (
            "tuner/builders/x.py",
            "try:\n    import tvm.tirx\nexcept ImportError:\n    pass",
            "tvm is imported",
        ),
        ("tuner/store/x.py", "import pandas, sqlalchemy", "pandas is imported where"),
    ],
)
def test_a_planted_violation_is_found(file: str, text: str, reason: str) -> None:
    (found,) = violations(ROOT / file, text)
    assert reason in found


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tuner/core/x.py", "import numpy as np\nfrom tuner.core.space import SearchSpace"),
        ("tuner/searchers/x.py", "def f():\n    import optuna"),
        ("tuner/store/x.py", "import sqlalchemy"),
        ("tuner/engine/x.py", "from tuner.store import models\nfrom tuner import registry"),
        ("tuner/cli/x.py", "from tuner.engine import tune\nfrom tuner.report import html\nimport tuner.api"),
        ("tuner/core/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy"),
    ],
)
def test_what_the_rule_allows_passes(file: str, text: str) -> None:
    assert violations(ROOT / file, text) == []


def test_no_two_modules_import_each_other() -> None:
    modules = {spelled(module_of(path)): path for path in files()}
    imports = {
        name: {spelled(module) for _, module in imported(path, ast.walk(ast.parse(path.read_text())))}
        - {name}
        for name, path in modules.items()
    }
    assert circles(imports) == []


def spelled(module: str) -> str:
    """`schedules.gemm` as it is imported: `tuner.schedules.gemm`."""
    return f"tuner.{module}" if module.split(".")[0] == "schedules" else module


def test_a_planted_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def loaded_by(code: str, libraries: frozenset[str]) -> list[str]:
    """Which libraries a fresh interpreter has loaded after running `code`."""
    probe = f"import sys\n{code}\nprint(*sorted({set(libraries)} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()[-1].split()


def test_the_probe_sees_a_loaded_library() -> None:
    assert loaded_by("import numpy, json", frozenset({"numpy", "json", "tvm"})) == ["json", "numpy"]


def test_the_command_line_loads_nothing_heavy() -> None:
    # Even `tuner --help` of a sweep must not pay for what only a sweep uses.
    assert loaded_by("import tuner.cli", HEAVY - HEAVY_AT_TOP["store"]) == []


def test_the_registry_lists_everything_without_loading_anything_heavy() -> None:
    calls = ("operators", "kernels", "builders", "device_classes", "searchers")
    code = "from tuner import registry\n" + "\n".join(f"registry.{name}()" for name in calls)
    assert loaded_by(code, HEAVY - HEAVY_AT_TOP["store"]) == []
