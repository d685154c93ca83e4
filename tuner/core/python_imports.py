"""The files that a kernel written in Python is made of: its own, and the modules it imports that lie in a
plug-in folder or in the lab's `schedules/`."""

import ast
import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from tuner.core.found_files import UnreadableFile, read_file
from tuner.core.places import SCHEDULES

# The package under which the files in `schedules/` are imported.
_PACKAGE = "tuner.schedules."
# How a kernel names a function of another module: its `factory`, the text of a Triton source.
_FUNCTION = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")


def plugin_paths() -> list[Path]:
    """The folders that `TUNER_PLUGINS` names, whether they exist or not."""
    named = os.environ.get("TUNER_PLUGINS", "").split(os.pathsep)
    return [Path(os.path.realpath(name)) for name in named if name]


def imported_files(path: Path) -> tuple[Path, ...]:
    """Modules that a Python file of a plug-in folder or of `schedules/` imports and that lie there too, and
    those they import.

    Imports anywhere in the file count, also those inside functions; those whose name is computed cannot be
    known. What lies elsewhere (the lab's engine, libraries) is no part of a kernel.

    Args:
        path: the file; of one that lies in neither, there are none.
    """
    folders = [*plugin_paths(), SCHEDULES]
    start = Path(os.path.realpath(path))
    if not any(start.is_relative_to(folder) for folder in folders):
        return ()
    found = [start]
    for file in found:  # grows meanwhile
        for name in _names(file):
            for part in _files(name, file, folders):
                if part not in found:
                    found.append(part)
    return tuple(found[1:])


def _names(file: Path) -> tuple[tuple[int, str], ...]:
    try:
        facts = file.stat()
    except OSError:
        return ()
    return _names_of(file, facts.st_mtime_ns, facts.st_size, facts.st_ino)


# A kernel's identity is asked for with every build.
@lru_cache(256)
def _names_of(file: Path, *state: int) -> tuple[tuple[int, str], ...]:
    """What a file imports: (dots before the name, dotted name)."""
    if file.suffix != ".py":
        return ()
    try:
        text = read_file(file)
        if file.is_relative_to(SCHEDULES):
            return tuple(dict.fromkeys(_lab_imports(text.decode(errors="replace"))))
        tree = ast.parse(text)
    except (UnreadableFile, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(dict.fromkeys(_imports(tree)))


# The lab imports its schedules by their whole names, and names functions of theirs in texts; a docstring that
# names one, in backquotes, is made of nothing.
_LAB_NAME = re.compile(r"""(?:^ *(?:from|import) |["'])(tuner\.schedules\.[\w.]+)""", re.MULTILINE)
_LAB_FROM = re.compile(r"^ *from (tuner\.schedules[\w.]*) import (?:\(([^)]*)\)|(.*))", re.MULTILINE)


def _lab_imports(text: str) -> Iterator[tuple[int, str]]:
    """As `_imports`, of a file in `schedules/`; without a syntax tree, since each start reads them all."""
    yield from ((0, match[1]) for match in _LAB_NAME.finditer(text))
    for match in _LAB_FROM.finditer(text):
        for name in (match[2] or match[3]).split(","):
            yield 0, f"{match[1]}.{name.strip().split(' ')[0]}"


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""
            # What is imported from a package may be a module of it.
            base = f"{node.module}." if node.module else ""
            yield from ((node.level, f"{base}{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if match := _FUNCTION.fullmatch(node.value):
                yield 0, match[1]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield 0, node.args[0].value.lstrip(".")


def _files(name: tuple[int, str], importer: Path, folders: Sequence[Path]) -> Iterator[Path]:
    """The files of a module and of the packages it is in, where they lie in one of the folders."""
    level, dotted = name
    lab = not level and dotted.startswith(_PACKAGE)
    dotted = dotted.removeprefix(_PACKAGE) if lab else dotted
    parts = [part for part in dotted.split(".") if part not in ("", "*")]
    if lab:
        starts = [SCHEDULES]
    elif level:
        starts = [importer.parents[level - 1]]
    else:
        starts = [*plugin_paths(), importer.parent] if not importer.is_relative_to(SCHEDULES) else []
    for start in dict.fromkeys(starts):
        if not any(start.is_relative_to(folder) for folder in folders):
            continue
        own = [start / "__init__.py"] if level else []
        for i in range(len(parts)):
            place = start.joinpath(*parts[: i + 1])
            own += [place.with_name(f"{place.name}.py"), place / "__init__.py"]
            own += sorted(place.parent.glob(f"{place.name}.*so")) if place.parent.is_dir() else []
        yield from (Path(os.path.realpath(file)) for file in own if file.is_file())
