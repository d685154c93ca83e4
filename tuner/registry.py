"""Finds operators, kernels, builders, devices, targets and searchers by scanning their folders.

A new one is a new file: in the lab's folders, or in a folder that the environment variable `TUNER_PLUGINS`
names (several, separated as in PATH). What cannot be loaded here is kept with its reason and listed, not
hidden.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from tuner.core.builder import Builder
from tuner.core.device import Device
from tuner.core.errors import TunerError, Unavailable, UnknownName
from tuner.core.found_files import UnreadableFile, files_below, read_file
from tuner.core.kernel import Kernel
from tuner.core.operator import Operator
from tuner.core.places import CUDA_SRC, ROOT
from tuner.core.plugins import plugin_folders, plugin_modules
from tuner.core.searcher import Searcher
from tuner.core.source_kernel import SourceKernel
from tuner.core.target import Target, TargetKind

T = TypeVar("T")

# What a class that the registry finds has in its body: a value for `name`. Files without are helpers of those
# with, and are not imported by the scan.
_NAMED = re.compile(r"^class \w+\(.*?^    name(?:: [^=\n]+)? = ", re.DOTALL | re.MULTILINE)
# The names that a file of the lab gives: to classes, one each, or to the kernel that a head comment declares.
_CLASS_NAMES = re.compile(r"^    name(?:: [^=\n]+)? = (.*)$", re.MULTILINE)
_HEAD_NAMES = re.compile(r"^\s*[\"']?name[\"']?\s*=\s*(.*)$", re.MULTILINE)
_PLAIN = re.compile(r"\"([\w.-]+)\"\s*")

broken: dict[str, str] = {}
"""Files that could not be loaded, with the reason: `{"schedules/gemm/x.py": "ImportError: ..."}`."""


def _names_other(names: Sequence[str], wanted: str | None) -> bool:
    """Whether a file that gives these names, as it spells them, surely does not give the wanted one.

    Args:
        names: right-hand sides, not all of which need be plain texts.
        wanted: `None` for any.
    """
    if wanted is None or not names:
        return False
    plain = [_PLAIN.fullmatch(name) for name in names]
    return all(match is not None and match[1] != wanted for match in plain)


def _modules(folder: str, name: str | None = None) -> list[ModuleType]:
    """The lab's modules in a folder that hold a class with a name; with `name`, those that may give it."""
    modules = []
    for path, names in _python_files(folder):
        if _names_other(names, name):
            continue
        try:
            modules.append(_lab_module(path))
        except (Exception, SystemExit) as error:  # a broken plug-in must not take the lab down with it
            broken[str(path.relative_to(ROOT))] = f"{type(error).__name__}: {error}".splitlines()[0]
    return modules


@cache
def _python_files(folder: str) -> list[tuple[Path, list[str]]]:
    """The lab's files in a folder that hold a class with a name, and the names as they are spelt."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path.name.startswith("."):
            continue
        try:
            text = read_file(path).decode()
        except (UnreadableFile, UnicodeDecodeError) as error:
            named = "" if isinstance(error, UnreadableFile) else f"{type(error).__name__}: "
            broken[str(path.relative_to(ROOT))] = f"{named}{error}".splitlines()[0]
            continue
        if _NAMED.search(text):
            found.append((path, _CLASS_NAMES.findall(text)))
    return found


@cache
def _declared_files() -> tuple[list[tuple[Path, list[str]]], dict[Path, str]]:
    """Files that declare a kernel, with the names as they are spelt; and unreadable ones, with the reason."""
    found, unread = [], dict[Path, str]()
    for folder in [CUDA_SRC, *plugin_folders(broken)]:
        for path in files_below(folder, (".cpp", ".cu"), unread):
            try:
                head = read_file(path).partition(b"/*[tuner]")[2]
            except UnreadableFile as error:
                unread[path] = str(error)
                continue
            # A file without a declaration is a part of others (an include, the runtime), not a kernel.
            if head:
                found.append((path, _HEAD_NAMES.findall(head.decode("utf-8", "replace"))))
    return found, unread


def _lab_module(path: Path) -> ModuleType:
    """Imports a file of the lab under a name in `tuner`: no other file on `sys.path` can have it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "tuner" else ("tuner", *parts))
    module = importlib.import_module(name)
    if Path(str(module.__file__)).resolve() != path.resolve():
        raise ImportError(f"{name} is {module.__file__}")
    return module


def require_whole(operator_name: str) -> None:
    """Where a choice among kernels is made: a kernel that is missing unseen makes the second best the best.

    A plug-in that cannot be loaded is only listed (`broken`), as is a file that is no module.

    Raises:
        Unavailable: a Python file of the lab that may belong to the operator cannot be imported.
    """
    kernels()
    others = operators().keys() - {operator_name}
    for name, reason in broken.items():
        place = Path(name)
        if place.is_absolute() or place.suffix != ".py" or not place.stem.isidentifier():
            continue
        if (ROOT / place).is_file() and not others.intersection(place.parts[1:-1]):
            raise Unavailable(f"the lab's own file {name} cannot be loaded, kernels are missing: {reason}")


def _classes(folder: str, base: type[Any], name: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in [*_modules(folder, name), *plugin_modules(broken)]:
        for _, item in inspect.getmembers(module, inspect.isclass):
            own = item.__module__ == module.__name__
            if own and issubclass(item, base) and not inspect.isabstract(item) and hasattr(item, "name"):
                found[item.name] = item
    return found


def _instances(classes: Mapping[str, type[T]], base: type[Any]) -> dict[str, T]:
    """An instance of each class; one that cannot be made, or lacks what `base` declares, is in `broken`."""
    made = {}
    for name, item in classes.items():
        try:
            instance = item()
            missing = [each for each in base.__annotations__ if not hasattr(instance, each)]
            if missing:
                raise TypeError(f"it has no {missing[0]}")
            made[name] = instance
        except (Exception, SystemExit) as error:
            place = Path(str(getattr(sys.modules.get(item.__module__), "__file__", item.__module__)))
            key = str(place.relative_to(ROOT) if place.is_relative_to(ROOT) else place)
            broken[key] = f"{item.__name__}: {_reason(error)}"
    return made


def _reason(error: BaseException) -> str:
    """One line."""
    named = "" if isinstance(error, TunerError) else f"{type(error).__name__}: "
    return (f"{named}{error}".splitlines() or [type(error).__name__])[0]


@cache
def operators() -> dict[str, Operator]:
    """Operators by name."""
    return _instances(_classes("tuner/operators", Operator), Operator)


@cache
def builders() -> dict[str, Builder]:
    """Builders by name."""
    return _instances(_classes("tuner/builders", Builder), Builder)


@cache
def device_classes() -> dict[str, type[Device]]:
    """Device classes by name."""
    return _classes("tuner/devices", Device)


@cache
def target_kinds() -> dict[str, TargetKind]:
    """Kinds of targets by name."""
    return _instances(_classes("tuner/targets", TargetKind), TargetKind)


@cache
def searchers() -> dict[str, type[Searcher]]:
    """Searcher classes by name."""
    return _classes("tuner/searchers", Searcher)


@cache
def kernels() -> dict[str, Kernel]:
    """Kernels by name: Python ones under schedules/, C++ and CUDA ones under cuda_src/, plug-ins.

    All are read, and what is wrong with one is in `broken`: a third of a second. One alone: `find_kernel`.
    """
    return _read_kernels(None)


def _read_kernels(name: str | None) -> dict[str, Kernel]:
    """All kernels; with a name, those of files that may hold the one of this name."""
    found: dict[str, Kernel] = _instances(_classes("schedules", Kernel, name), Kernel)
    files, unread = _declared_files()
    for path, names in files:
        if _names_other(names, name):
            continue
        try:
            kernel = _source(path)
        except Exception as error:
            unread[path] = _reason(error)
        else:
            found[kernel.name] = kernel
    for path, reason in unread.items():
        broken[str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)] = reason
    return found


@cache
def _source(path: Path) -> SourceKernel:
    """A scanned file's kernel, read once a process: an edit meanwhile must not make it two."""
    return source_kernel(path)


@cache
def find_kernel(name: str) -> Kernel | None:
    """The kernel of a name, as `kernels` has it; `None` where there is none that can be read.

    Only files that may hold it are read, so that a question about one kernel need not wait for sixty.
    """
    return (kernels() if kernels.cache_info().currsize else _read_kernels(name)).get(name)


class _Digests(Mapping[str, str]):
    """Digests of the kernels' present sources by name; each is taken when it is asked for."""

    def __getitem__(self, name: str) -> str:
        if (found := find_kernel(name)) is None:
            raise KeyError(name)
        return found.digest

    def __iter__(self) -> Iterator[str]:
        return iter(kernels())

    def __len__(self) -> int:
        return len(kernels())


def digests() -> Mapping[str, str]:
    """Digests of the kernels' present sources by name; each is taken when it is asked for."""
    return _Digests()


def source_kernel(path: Path) -> SourceKernel:
    """The kernel that a `.cpp` or `.cu` file declares, wherever it lies; raises `InvalidSpace`."""
    return SourceKernel(path, operators())


def operator(name: str) -> Operator:
    """An operator by name.

    Raises:
        UnknownName: there is none; lists those there are.
    """
    return _pick("operator", name, operators())


def kernel(name: str) -> Kernel:
    """A kernel by name; raises `UnknownName`."""
    return find_kernel(name) or _pick("kernel", name, kernels())


def builder(name: str) -> Builder:
    """A builder by name; raises `UnknownName`."""
    return _pick("builder", name, builders())


def builder_for(language: str, target_kind: str) -> Builder:
    """The builder of a language for a kind of target: one that names the kind, else one for any.

    Raises:
        UnknownName: nothing compiles the language for it; lists the languages that are compiled.
    """
    fitting = [b for b in builders().values() if b.compiles(language)]
    named = [b for b in fitting if target_kind in b.target_kinds]
    chosen = named or [b for b in fitting if not b.target_kinds]
    if not chosen:
        able = [b for b in builders().values() if target_kind in b.target_kinds or not b.target_kinds]
        raise UnknownName(
            f"language for {target_kind} targets", language, sorted({b.language or b.name for b in able})
        )
    return chosen[0]


def builder_of(kernel: Kernel, target: Target) -> Builder:
    """The builder that compiles a kernel for a target; raises as `builder_for`."""
    return builder_for(kernel.language, target.kind)


def no_builder(kernel: Kernel, target_kind: str) -> str | None:
    """Why nothing here builds a kernel for a kind of target; `None` where something does."""
    try:
        return builder_for(kernel.language, target_kind).unavailable()
    except UnknownName:
        return f"no builder of {kernel.language!r} for {target_kind} targets"


def target_kind(name: str) -> TargetKind:
    """A kind of target by name; raises `UnknownName`."""
    return _pick("target", name, target_kinds())


def target(name: str) -> Target:
    """A described target by name: `cuda:sm_90`, or `sm_90` alone. A kind alone is its default one.

    Raises:
        UnknownName: there is none; lists those of its kind, or of all kinds.
    """
    kind, separator, arch = name.partition(":")
    if separator and kind in target_kinds():
        return target_kinds()[kind].target(arch)
    if name in target_kinds():
        meant = target_kinds()[name]
        return meant.default() or next(iter(meant.targets().values()))
    known = {n: t for each in target_kinds().values() for n, t in each.targets().items()}
    found = known.get(name) or next((t for t in known.values() if t.arch == name), None)
    if found is None:
        raise UnknownName("target", name, list(known))
    return found


def searcher(name: str) -> type[Searcher]:
    """A searcher class by name, a member of a family as `family:member`; raises `UnknownName`."""
    family, separator, which = name.partition(":")
    found = _pick("searcher", family if separator else name, searchers())
    return found.variant(which) if separator else found


def kernels_of(operator_name: str, target_kind: str | None = None) -> list[Kernel]:
    """The kernels of an operator, baselines last, in the order of their names."""
    chosen = [k for k in kernels().values() if k.operator == operator_name]
    chosen = [k for k in chosen if target_kind is None or target_kind in k.target_kinds]
    return sorted(chosen, key=lambda k: (k.baseline, k.name))


def _pick(kind: str, name: str, known: Mapping[str, T]) -> T:
    try:
        return known[name]
    except KeyError:
        raise UnknownName(kind, name, list(known)) from None


def warm_builder(name: str) -> None:
    """What a warm process does once before it forks builds: loads the kernels, warms the builder up."""
    kernels()
    builder(name).warm_up()
