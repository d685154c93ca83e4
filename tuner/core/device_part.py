"""The device part of a CUDA file that also holds host code: launches, tests, bindings, a `main`.

By the text alone, since no compiler here takes both parts: declarations at the outermost level (and in
namespaces and extern "C" blocks) are kept or blanked as a whole, so that what stays is on its old line.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.core.found_files import read_file

_TOKEN = re.compile(
    r'(?P<skip>//[^\n]*|/\*.*?(?:\*/|\Z)|R"(?P<d>[^\s()\\]{0,16})\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])+')|(?P<number>\b\d[\w'.]*)"
    r"|(?P<directive>^[ \t]*#(?:[^\n\\]|\\(?:\r?\n)?)*)|(?P<mark>[(){}\[\];])",
    re.DOTALL | re.MULTILINE,
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_CONTAINER = re.compile(r'(?:\bnamespace(?:\s+[\w:]+)?|\bextern\s*"C")\s*$')
_AGGREGATE = re.compile(r"\b(?:struct|class|union|enum)\b[^()]*$")
_INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"\n]+)[>"]')
_DEFINE = re.compile(r"\s*#\s*define\s+(\w+)(.*)", re.DOTALL)
_PRAGMA_ONCE = re.compile(r"^(\s*#\s*pragma\s+once)", re.MULTILINE)
_DEEPEST = 50  # headers within headers
_DEVICE = re.compile(r"\b(?:__device__|__global__|__constant__|__shared__|constexpr)\b")
_HOST = re.compile(
    r"<<<|\bcuda(?!_)[A-Z]\w*|\bcu[A-Z]\w+\s*\(|\b(?:cublas|cudnn|curand|cusparse|nvml|nccl)\w*"
    r"|\bstd::(?!size_t|u?int)|\bmain\s*\(|\b(?:torch|at|c10|py|thrust)::|\b(?:TORCH_|PYBIND11_|AT_|C10_)\w+"
    r"|\b(?:malloc|free|f?printf|exit|fopen|srand|rand|getenv|getpid|gettid|syscall|gettimeofday|time|localtime"
    r"|clock_gettime)\s*\(|\busing\s+namespace\s+std\b|\bdim3\b|\bnew\b|\bdelete\b"
)
_DEVICE_HEADERS = re.compile(r"cuda|mma\.h")
# Standard headers a device can do without, and libraries of the host; others that are not found stay, and the
# compiler names them.
_HOST_HEADERS = re.compile(
    r"(?:iostream|fstream|sstream|iomanip|vector|string|map|unordered_map|set|list|deque|queue|algorithm|numeric"
    r"|random|chrono|memory|functional|thread|mutex|atomic|future|tuple|array|optional|stdexcept|exception|ctime"
    r"|omp\.h|mpi\.h|torch/.*|ATen/.*|c10/.*|pybind11/.*|cublas.*|cudnn.*|curand(?!_kernel)"
    r".*|cusparse.*|cusolver.*|nvml\.h|nccl\.h|nvtx3/.*|cuda_profiler_api\.h|helper_.*|gtest/.*|benchmark/.*)$"
)


# Of the system: g++ has them, and a kernel may mean them; they go with host code that uses them.
_SYSTEM_HEADERS = re.compile(r"\s*#\s*include\s*<(?:time\.h|sys/.*|unistd\.h|pthread\.h|fcntl\.h)>")


@dataclass(frozen=True, slots=True)
class DevicePart:
    """A file's device part.

    Attributes:
        text: as long as the file, host code blanked.
        left_out: first and last line of each part that was blanked, from 1.
        host: names that stand for host code here.
    """

    text: str
    left_out: tuple[tuple[int, int], ...]
    host: frozenset[str] = frozenset()

    def __str__(self) -> str:
        spans = [str(a) if a == b else f"{a}-{b}" for a, b in self.left_out]
        return f"left out as host code: lines {', '.join(spans)}"


@dataclass(slots=True)
class _Item:
    start: int
    end: int
    code: str  # without comments
    body: bool = False  # a function's definition


def with_headers(
    text: str, name: str, beside: Path, folders: Sequence[Path], host: Collection[str] = ()
) -> str:
    """A file with the headers of ours in place of the lines that include them, those with host code blanked.

    Args:
        text: the file's device part.
        name: of the file, for `#line`.
        beside: its folder.
        folders: where else headers are searched.
        host: as in `device_part`.
    """
    once: set[Path] = set()

    def expand(text: str, name: str, beside: Path, depth: int) -> str:
        lines = []
        for number, line in enumerate(text.split("\n"), 1):
            include = _INCLUDE.match(line)
            path = _find(include[2].strip(), (beside, *folders)) if include and depth < _DEEPEST else None
            if path is None:
                lines.append(line)
                continue
            content = "" if path in once else read_file(path).decode(errors="replace")
            if re.search(r"^\s*#\s*pragma\s+once", content, re.MULTILINE):
                once.add(path)
                content = _PRAGMA_ONCE.sub("", content)
            inner = device_part(content, {p.name for p in path.parent.iterdir()}, host).text
            lines += [f'#line 1 "{path.name}"', expand(inner, path.name, path.parent, depth + 1)]
            lines.append(f'#line {number + 1} "{name}"')
        return "\n".join(lines)

    return expand(text, name, beside, 0)


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        path = folder / name.replace("\0", "")
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a folder may not be looked into
            return path.resolve()
    return None


def host_names(texts: Sequence[str], found: Collection[str]) -> set[str]:
    """Functions of several files that are the host's, and macros that stand for host code."""
    names: set[str] = set()
    for _ in range(2):  # a header's names are known to those that include it, whatever their order
        for text in texts:
            names |= device_part(text, found, names).host
    return names


def device_part(text: str, found: Collection[str] = (), host: Collection[str] = ()) -> DevicePart:
    """What of a file a device compiler gets.

    A function without `__device__`, `__global__` or `constexpr` goes if it launches, calls the runtime or a
    library of the host, is `main`, or names a function that goes. Declarations that name the host's types go;
    so do headers of the host and quoted ones that are not there.

    Args:
        text: the file.
        found: names of headers that can be included, without their folders.
        host: names of other files that stand for host code.
    """
    items = list(_items(text))
    gone = [item for item in items if _is_host(item, found)]
    names = {name for item in gone if item.body and (name := _name(item))}
    defined = (_DEFINE.match(item.code) for item in items)
    names |= {match[1] for match in defined if match and _HOST.search(match[2])} | set(host)
    # A name that a device function has too is no sign of host code.
    kernels = {_name(item) for item in items if item.body and _of_device(item)}
    names -= kernels
    able = [i for i in items if i not in gone and not i.code.lstrip().startswith("#") and not _of_device(i)]
    left = [(item, set(re.findall(r"\w+", item.code))) for item in able]
    fresh = names
    while more := [item for item, words in left if not words.isdisjoint(fresh)]:
        left = [(item, words) for item, words in left if words.isdisjoint(fresh)]
        gone += more
        fresh = {name for item in more if item.body and (name := _name(item))} - kernels
        names |= fresh
    if any(item.body for item in gone):
        gone += [item for item in items if _SYSTEM_HEADERS.match(item.code)]
    spans = sorted((item.start, item.end) for item in gone)
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at:start], re.sub(r"[^\n]", " ", text[start:end])]
        at = end
    return DevicePart("".join([*parts, text[at:]]), _lines(text, spans), frozenset(names))


def _items(text: str) -> Iterator[_Item]:
    """Declarations at the outermost level, and preprocessor lines; containers are opened."""
    start, at, depth, containers, body = 0, 0, 0, 0, False
    while match := _TOKEN.search(text, at):
        at = match.end()
        mark = match["mark"]
        if match["directive"] is not None and depth == 0:
            if not _plain(text[start : match.start()]).strip():
                yield _Item(match.start(), at, _plain(match[0]))
                start = at
        elif mark == "{" and depth == 0 and _CONTAINER.search(_plain(text[start : match.start()])):
            containers += 1
            start = at
        elif mark == "}" and depth == 0 and containers:
            containers -= 1
            start = at
        elif mark and mark in "({[":
            if mark == "{" and depth == 0:
                head = _plain(text[start : match.start()])
                value = "=" in re.sub(r"\([^()]*\)|operator\W+", "", head)
                body = ")" in head and not _AGGREGATE.search(head) and not value
            depth += 1
        elif mark and mark in ")}]":
            depth = max(0, depth - 1)
            if mark == "}" and depth == 0 and body:
                yield _item(text, start, at, True)
                start, body = at, False
        elif mark == ";" and depth == 0:
            yield _item(text, start, at, False)
            start = at


def _item(text: str, start: int, end: int, body: bool) -> _Item:
    # Comments before a declaration stay where they are.
    lead = re.match(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", text[start:end], re.DOTALL)
    begin = start + (lead.end() if lead else 0)
    return _Item(begin, end, _plain(text[begin:end]), body)


def _of_device(item: _Item) -> bool:
    """By the head of a function, by anything in another declaration."""
    return bool(_DEVICE.search(item.code.split("{", 1)[0] if item.body else item.code))


def _plain(text: str) -> str:
    return _COMMENT.sub(" ", text)


def _name(item: _Item) -> str:
    """The name of a function from its definition."""
    head = item.code.split("{", 1)[0]
    found = re.search(r"([A-Za-z_]\w*)\s*\(", re.sub(r"__launch_bounds__\s*\([^()]*\)", "", head))
    return found[1] if found else ""


def _is_host(item: _Item, found: Collection[str]) -> bool:
    if include := _INCLUDE.match(item.code):
        quoted, name = include[1] == '"', include[2].strip()
        if name.rsplit("/", 1)[-1] in found:
            return False
        return bool(_HOST_HEADERS.match(name)) or (quoted and not _DEVICE_HEADERS.match(name))
    if item.code.lstrip().startswith("#"):
        return False
    return bool(_HOST.search(item.code)) and not _of_device(item)


def _lines(text: str, spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[list[int]] = []
    for start, end in spans:
        first = text.count("\n", 0, start) + 1
        last = first + text.count("\n", start, end)
        between = "\n".join(text.split("\n")[merged[-1][1] : first - 1]) if merged else "x"
        if merged and not _plain(between).strip():
            merged[-1][1] = max(last, merged[-1][1])
        else:
            merged.append([first, last])
    return tuple((a, b) for a, b in merged)
