"""The shape of the tree: what the registry finds, what is tracked, how long files and functions are."""

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tuner import registry

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (".py", ".cpp", ".cu", ".h", ".hpp", ".cuh")


@cache
def tracked() -> list[Path]:
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if answer.returncode != 0:
        pytest.skip("not a git checkout")
    # A file may be deleted and not yet committed.
    return [path for name in answer.stdout.split("\0") if name and (path := ROOT / name).exists()]


def test_one_idea_a_file() -> None:
    long = {str(p.relative_to(ROOT)): n for p in tracked() if p.suffix in SOURCES
            and (n := len(p.read_text().splitlines())) > 400}  # fmt: skip
    assert long == {}


def too_long(text: str, path: str) -> list[str]:
    """Functions of over 60 lines or 8 parameters, `self` not counted.

    What people type is as long as it is: a command's parameters, those of `tuner.api` and of what stands in
    for another tool's function, with the text that explains them. Migrations are what was once run, and stay
    as they were.
    """
    if "/migrations/versions/" in path:
        return []
    found = []
    commands = "Annotated" in text
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        of = node.args
        parameters = [a.arg for a in (*of.posonlyargs, *of.args, *of.kwonlyargs)]
        parameters = parameters[1:] if parameters[:1] in (["self"], ["cls"]) else parameters
        command = commands and any("Annotated" in ast.unparse(a.annotation) for a in of.args if a.annotation)
        typed = (
            path == "tuner/api.py" or re.fullmatch(r"tuner/integrations/\w+/__init__\.py", path) is not None
        )
        public = typed and not node.name.startswith("_")
        if command or public:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            first, parameters = body[0].lineno, []
        else:
            first = node.lineno
        lines = (node.end_lineno or first) - first + 1
        if lines > 60 or len(parameters) > 8:
            found.append(f"{path}: {node.name}: {lines} lines, {len(parameters)} parameters")
    return found


def test_two_classes_have_two_names() -> None:
    """Whoever reads `Outcome` need not ask which one; names that begin with `_` are a file's own.

    Kernels in `schedules/` are left out: another name is another source, and whoever has results of a kernel
    would have to measure it again.
    """
    places: dict[str, list[str]] = {}
    for path in tracked():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == "tuner":
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def packages() -> list[Path]:
    """The `__init__` of each."""
    return sorted(p for folder in ("tuner", "schedules") for p in (ROOT / folder).rglob("__init__.py"))


@pytest.mark.parametrize("path", packages(), ids=lambda p: str(p.relative_to(ROOT).parent))
def test_a_package_says_in_three_sentences_what_lives_there(path: Path) -> None:
    """What it names in backticks is there: a module of the lab, or something that its files define."""
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(re.findall(r"\.(?=\s|$)", re.sub(r"`[^`]*`", "x", said))) >= 3, said
    modules = {p.stem for p in tracked() if p.suffix == ".py"} | {p.parent.name for p in packages()}
    code = "\n".join(p.read_text() for p in path.parent.rglob("*.py"))
    for word in re.findall(r"`([a-z]\w+)/?`", said):
        defined = re.search(rf"(def|class) {word}\b|^ *{word}\b.* = ", code, re.MULTILINE)
        assert word in modules or defined or any((at / word).exists() for at in (path.parent, ROOT)), (
            f"{path}: {word} is not there"
        )


def test_functions_are_short() -> None:
    own = [p for p in tracked() if p.is_relative_to(ROOT / "tuner") and p.suffix == ".py"]
    assert [each for p in own for each in too_long(p.read_text(), str(p.relative_to(ROOT)))] == []


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("def f(a, b, c, d, *, e, g, h, i): pass", "tuner/x.py", 0),
        ("def f(a, b, c, d, *, e, g, h, i, j): pass", "tuner/x.py", 1),
        ("class C:\n    def f(self, a, b, c, d, e, g, h, i): pass", "tuner/x.py", 0),
        ("def f():\n" + "    x = 1\n" * 59, "tuner/x.py", 0),
        ("def f():\n" + "    x = 1\n" * 60, "tuner/x.py", 1),
        ("def f(a, b, c, d, e, g, h, i, j): pass", "tuner/api.py", 0),
        ("def f(a, b, c, d, e, g, h, i, j): pass", "tuner/integrations/triton/__init__.py", 0),
        ("def f(a, b, c, d, e, g, h, i, j): pass", "tuner/integrations/triton/tuning.py", 1),
        ("def f(a: Annotated[int, 1], b, c, d, e, g, h, i, j):\n" + "    x = 1\n" * 60, "tuner/x.py", 0),
        ("def f(a: Annotated[int, 1]):\n" + "    x = 1\n" * 61, "tuner/x.py", 1),
    ],
)
def test_a_long_function_is_found(text: str, path: str, found: int) -> None:
    assert len(too_long(text, path)) == found


def test_temporary_folders_are_those_that_somebody_removes_after_kill_9() -> None:
    """A folder by the lab's name that is no `Scratch` has no owner, so it would stay for ever."""
    own = [p for p in tracked() if p.is_relative_to(ROOT / "tuner") and p.suffix == ".py"]
    folders = [
        str(p.relative_to(ROOT))
        for p in own
        if re.search(r"(TemporaryDirectory|mkdtemp)\(prefix=", p.read_text())
    ]
    assert folders == ["tuner/core/scratch.py"]


def test_nothing_built_or_large_is_tracked() -> None:
    built = {".db", ".sqlite", ".so", ".o", ".cubin", ".pyc", ".whl"}
    bad = [str(p.relative_to(ROOT)) for p in tracked() if p.suffix in built or p.stat().st_size > 2**20]
    assert bad == []


def test_everything_loads_or_says_which_package_is_missing() -> None:
    for scan in (registry.operators, registry.kernels, registry.builders, registry.device_classes,
                 registry.searchers):  # fmt: skip
        scan()
    defects = {
        file: why for file, why in registry.broken.items() if not why.startswith("ModuleNotFoundError")
    }
    assert defects == {}


def test_every_kernel_is_of_a_registered_operator_and_honours_real_options() -> None:
    operators = registry.operators()
    for kernel in registry.kernels().values():
        assert kernel.operator in operators, kernel.name
        operator = operators[kernel.operator]
        assert set(kernel.dtypes) <= set(operator.dtypes), kernel.name
        for option, default in kernel.options.items():
            assert operator.options.get(option) == default, f"{kernel.name}: option {option}"


def test_kernel_names_are_unique() -> None:
    # The registry is a dictionary: of two kernels with one name it would silently keep the later.
    files = [p for p in (ROOT / "cuda_src").rglob("*") if p.suffix in (".cpp", ".cu")]
    names = [tomllib.loads(text.split("/*[tuner]", 1)[1].split("*/", 1)[0])["name"]
             for p in files if "/*[tuner]" in (text := p.read_text())]  # fmt: skip
    assert sorted(set(names)) == sorted(names)
    assert set(names) <= registry.kernels().keys()


def test_experiments_can_be_read() -> None:
    """Every key is known, every operator, kernel, searcher, shape and model's layer there."""
    from tuner.engine.tuning.experiment import read_experiment

    found = sorted((ROOT / "experiments").rglob("*.toml"))
    assert found
    for path in found:
        experiment = read_experiment(path)
        assert experiment.layers() or experiment.recordings, path
