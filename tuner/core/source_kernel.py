"""Kernels written as C++ or CUDA files that declare their own parameters and constraints.

The file begins with a block comment whose first line is `/*[tuner]`; what follows is TOML:

    /*[tuner]
    name = "cpp_tiled"
    operator = "gemm"
    summary = "Loop tiling for the L1 cache."
    dtypes = ["f32"]
    entry = "gemm"
    arguments = ["A", "B", "C", "bias", "D", "m", "n", "k"]
    special_values = true   # false: its arithmetic spreads a NaN or an infinity to other outputs (optional)

    [options]            # options of the operator that it honours, with the operator's defaults
    relu = false

    [supports]           # what else it needs, as words = expression over dimensions and options (optional)
    "it computes square matrices" = "m == n"

    [parameters]         # a list of values, or a table with `values` and `doc`
    TILE = { values = [8, 16, 32], doc = "edge of the square tile" }

    [constraints]        # name = expression over parameters, dimensions, options, limits of the target
    fits_l1 = "3 * TILE * TILE * 4 <= l1d_bytes"

    [features]           # name = expression: derived quantities for a model (optional)
    tile_bytes = "TILE * TILE * 4"

    [launch]             # CUDA only: expressions
    grid = ["ceildiv(n, TILE)", "ceildiv(m, TILE)", "batch"]
    block = ["TILE", "TILE", "1"]
    shared_bytes = "0"

    fewer_operations = "2.25"  # above the tables; expression over dimensions and options (optional): how many
                         # times fewer operations it does than the definition counts, at the most

    accumulator = "f16"  # above the tables: the type sums are made in, where it is not f32 (optional)

    [initial]            # outputs changed in place = the tensor they hold at the start (optional)
    D = "C"              # or a number: all elements; of a workspace as f32

    [constants]          # __constant__ arrays = a tensor, or numbers (optional)
    filter = "W"

    [workspace]          # arguments that are memory of the kernel's own: name = expression, bytes (optional)
    partial = "SPLIT_K * m * n * 4"
    */

The file is compiled with a macro a parameter and an option (`TILE`, `RELU`: option names in capitals)
and `DTYPE_F32` (or whichever) defined before its first line; booleans are 0 or 1. An argument that is
not a dimension or a numeric option is a tensor of the operator's signature; an absent one is a null
pointer; numbers of other types, expressions and structs are in `tuner.core.declared_arguments`. What is
computed from the shape, `[initial]` and `[constants]` are for `tuner check`: no device times them yet. A
workspace is zeroed once, before the first call; a kernel that counts in it leaves zeros for the next.
Relative folders among `flags` (`-Iinc`) lie beside the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.core.brief import brief
from tuner.core.declared_arguments import check_arguments, computed_argument, read_argument
from tuner.core.device_part import device_part, host_names, with_headers
from tuner.core.digest import digest_files
from tuner.core.errors import InvalidSpace
from tuner.core.expression import parse
from tuner.core.found_files import UnreadableFile, read_file
from tuner.core.includes import absolute_flags, included_files
from tuner.core.kernel import Argument, Kernel, Launch, Source
from tuner.core.space import Config, Constraint, Parameter, SearchSpace, Value
from tuner.core.target import Target
from tuner.core.toml_text import NotToml, parse_toml
from tuner.core.workload import Workload

_HEADER = re.compile(r"/\*\[tuner\]\s*\n(.*?)\*/", re.DOTALL)
_MACRO = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_KNOWN = {
    "name", "operator", "summary", "dtypes", "entry", "arguments", "options", "parameters", "constraints",
    "features", "launch", "flags", "requires", "workspace", "supports", "fewer_operations", "special_values",
    "accumulator", "initial", "constants",
}  # fmt: skip
_TEXTS = ("accumulator", "name", "operator", "summary", "entry", "fewer_operations")
_LISTS = ("dtypes", "arguments", "flags", "requires")
_TABLES = (
    "constants",
    "initial",
    "options",
    "parameters",
    "constraints",
    "features",
    "workspace",
    "launch",
    "supports",
)
_LANGUAGES = {".cpp": ("cxx", "cpu"), ".cu": ("nvrtc", "cuda")}


class SourceKernel(Kernel):
    """A kernel in a C++ (`.cpp`) or CUDA (`.cu`) file.

    Args:
        path: the file.

    Attributes:
        left_out: of a CUDA file that holds host code too, which lines the device does not get; else empty.

    Raises:
        InvalidSpace: the file has no declaration, or the declaration is wrong; names the file.
    """

    shape_generic = True

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # As text files are read: with line ends of any system.
            self.text = "\n".join(read_file(path).decode().replace("\r\n", "\n").split("\r"))
        except (UnreadableFile, UnicodeDecodeError) as error:
            raise InvalidSpace(f"{path}: cannot be read: {error}") from None
        match = _HEADER.search(self.text)
        if match is None:
            raise InvalidSpace(f"{path}: no declaration; the file must begin with a comment '/*[tuner]'")
        try:
            declared = parse_toml(match[1])
        except NotToml as error:
            raise InvalidSpace(f"{path}: the declaration is not TOML: {error}") from None
        unknown = declared.keys() - _KNOWN
        missing = {"name", "operator", "entry", "arguments"} - declared.keys()
        if unknown or missing:
            what = f"unknown key {min(unknown)!r}" if unknown else f"missing key {min(missing)!r}"
            raise InvalidSpace(f"{path}: {what} in the declaration; keys are {', '.join(sorted(_KNOWN))}")
        if path.suffix not in _LANGUAGES:
            raise InvalidSpace(f"{path}: the file's ending is .cpp or .cu")
        self.language, self.target_kind = _LANGUAGES[path.suffix]
        try:
            _check(declared, cuda=self.language == "nvrtc")
        except InvalidSpace as error:
            raise InvalidSpace(f"{path}: {error}") from None
        self.name = declared["name"]
        self.operator = declared["operator"]
        self.summary = declared.get("summary", "")
        self.dtypes = tuple(declared.get("dtypes", ["f32"]))
        self.options = dict(declared.get("options", {}))
        self.requires: tuple[str, ...] = tuple(declared.get("requires", ()))
        self.special_values = declared.get("special_values", True)
        self.accumulator = declared.get("accumulator", "")
        self.initial = dict(declared.get("initial", {}))
        self.checked_only = _checked_only(declared)
        # Now, with the text: an edit during a sweep must not rename what is being measured.
        self._declared = declared
        try:
            self._digest = digest_files(self.source_files())
        except InvalidSpace as error:
            raise InvalidSpace(f"{path}: {error}") from None
        self._parameters = [_parameter(path, name, v) for name, v in declared.get("parameters", {}).items()]
        self._constraints = [Constraint(n, e) for n, e in declared.get("constraints", {}).items()]
        self._code, self.left_out = self.text, ""
        if self.language == "nvrtc":
            self._code, self.left_out = self._device_part()

    def _device_part(self) -> tuple[str, str]:
        """What a device compiler gets of the file and of headers with host code, and what it does not."""
        files = self.source_files()
        names = {file.name for file in files}
        contents = [read_file(file).decode(errors="replace") for file in files]
        host = host_names(contents, names)
        part = device_part(self.text, names, host)
        said = [str(part)] if part.left_out else []
        headers = []
        for file, content in zip(files[1:], contents[1:], strict=True):
            inner = device_part(content, names, host)
            if inner.left_out:
                headers.append(f"{file.name}: {str(inner).split(': ', 1)[1]}")
        if not headers:
            return part.text, "".join(said)
        flags = absolute_flags(self._declared.get("flags", []), self.path.parent.absolute())
        folders = [Path(flag[2:]) for flag in flags if flag.startswith("-I")]
        text = with_headers(part.text, self.path.name, self.path.parent.absolute(), folders, host)
        return text, "; ".join(said or ["left out as host code"]) + "; " + "; ".join(headers)

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also checks `[supports]`, and the features of the target that the file's `requires` names."""
        reason = super().unsupported(workload, target)
        missing = [feature for feature in self.requires if feature not in target.features]
        reason = reason or (f"{target.name} lacks {missing[0]}" if missing else None)
        if reason is None:
            scope = self.constants(workload, target)
            needs = self._declared.get("supports", {}).items()
            reason = next((words for words, expression in needs if not parse(expression).holds(scope)), None)
        return reason

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """The declared parameters and constraints, with the workload's and target's numbers."""
        try:
            return SearchSpace(self._parameters, self._constraints, self.constants(workload, target))
        except InvalidSpace as error:
            raise InvalidSpace(f"{self.path}: {error}") from None

    def _scope(self, workload: Workload, config: Config, target: Target) -> dict[str, Any]:
        return {**self.constants(workload, target), **config}

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The file's text behind the macros of the configuration; of a CUDA file its device part."""
        scope = self._scope(workload, config, target)
        options = {**self.options, **dict(workload.options)}
        macros: dict[str, Value] = {f"DTYPE_{workload.dtype.upper()}": 1, **config}
        macros.update((name.upper(), value) for name, value in options.items())
        lines = [f"#define {name} {_literal(value)}" for name, value in macros.items()]
        launch = None
        if declared := self._declared.get("launch"):
            grid, block = ([int(parse(str(e))(scope)) for e in declared[key]] for key in ("grid", "block"))
            grid, block = (sizes + [1] * (3 - len(sizes)) for sizes in (grid, block))
            shared = int(parse(str(declared.get("shared_bytes", 0)))(scope))
            launch = Launch((grid[0], grid[1], grid[2]), (block[0], block[1], block[2]), shared)
        text = "\n".join([*lines, f'#line 1 "{self.path.name}"', self._code])
        threads = int(config.get("threads", 1))
        flags = absolute_flags(self._declared.get("flags", []), self.path.parent.absolute())
        return Source(
            self.language, text, self._declared["entry"], self._arguments(workload, options, scope),
            threads, launch,
            {"include": str(self.path.parent), "flags": flags,
             **({"constants": constants} if (constants := self._declared.get("constants")) else {})},
        )  # fmt: skip

    def _arguments(
        self, workload: Workload, options: Mapping[str, Any], scope: Mapping[str, Any]
    ) -> tuple[Argument, ...]:
        dims = dict(workload.dims)
        # A yes-or-no option is a macro only: GEMM's `bias` says whether there is a *tensor* of that name.
        numbers = {name: value for name, value in options.items() if not isinstance(value, bool)}
        workspace = self._declared.get("workspace", {})
        kind = "int64" if self.language == "cxx" else "int32"
        names: dict[str, Argument] = {}
        for name, value in {**numbers, **dims}.items():
            whole = name in dims or isinstance(value, int)
            names[name] = (
                Argument(name, kind, int(value))  # type: ignore[arg-type]
                if whole
                else Argument(name, "float32", float(value))
            )
        for name, size in workspace.items():
            names[name] = Argument(name, "workspace", int(parse(str(size))(scope)))
        return tuple(read_argument(text, names, scope) for text in self._declared["arguments"])

    def fewer_operations(self, workload: Workload) -> float:
        """The declared `fewer_operations`, an expression over dimensions and options; 1 by default."""
        scope = {**self.options, **dict(workload.dims), **dict(workload.options)}
        return float(parse(self._declared.get("fewer_operations", "1"))(scope))

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """The declared `[features]`."""
        scope = self._scope(workload, config, target)
        return {name: float(parse(e)(scope)) for name, e in self._declared.get("features", {}).items()}

    @property
    def digest(self) -> str:
        """A digest of `source_files` as they were when this kernel was read."""
        return self._digest

    def source_files(self) -> tuple[Path, ...]:
        """The file and every file of ours it may include, recursively; see `included_files`."""
        return included_files(self.path, self._declared.get("flags", []))


def _checked_only(declared: Mapping[str, Any]) -> str | None:
    """What of a declaration no device does yet, only the emulator of `tuner check`."""
    if declared.get("initial"):
        return (
            f"it changes {min(declared['initial'])} in place: 'tuner check' runs it, no device times it yet"
        )
    if declared.get("constants"):
        return "its constant arrays are filled by 'tuner check' only, no device does so yet"
    if text := computed_argument(declared["arguments"]):
        return f"argument {brief(text)} is computed from the shape: 'tuner check' runs it, no device does yet"
    return None


def _check(declared: Mapping[str, Any], cuda: bool) -> None:
    """Whatever would otherwise surface in the middle of a sweep."""
    for key, value in declared.items():
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if key in _TEXTS and not (isinstance(value, str) and value):
            raise InvalidSpace(f"{key} is a text, not {brief(value)}")
        if key in _LISTS and not texts:
            raise InvalidSpace(f"{key} is a list of texts, not {brief(value)}")
        if key in _TABLES and not isinstance(value, dict):
            raise InvalidSpace(f"[{key}] is a table, not {brief(value)}")
    if not isinstance(declared.get("special_values", True), bool):
        raise InvalidSpace(f"special_values is true or false, not {brief(declared['special_values'])}")
    for table in ("constraints", "features", "workspace", "supports"):
        for name, expression in declared.get(table, {}).items():
            _expression(f"[{table}] {name}", expression)
    _expression("fewer_operations", declared.get("fewer_operations", "1"))
    if cuda:
        check_arguments(declared["arguments"])
    for name, value in declared.get("constants", {}).items():
        numbers = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
        if not (numbers or isinstance(value, str)):
            raise InvalidSpace(f"[constants] {brief(name)} is a tensor's name or a list of numbers")
    for name, value in declared.get("initial", {}).items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidSpace(f"[initial] {brief(name)} is a tensor's name or a number, not {brief(value)}")
    if declared.get("accumulator", "f32") not in ("f16", "bf16", "f32"):
        raise InvalidSpace(f"accumulator is f16, bf16 or f32, not {brief(declared['accumulator'])}")
    launch = declared.get("launch")
    if cuda != (launch is not None):
        raise InvalidSpace("a CUDA kernel has a [launch] table, a C++ kernel has none")
    if launch is not None:
        if not {"grid", "block"} <= launch.keys() <= {"grid", "block", "shared_bytes"}:
            raise InvalidSpace("[launch] has grid and block, and shared_bytes where it is not 0")
        for key in ("grid", "block"):
            if not isinstance(launch[key], list) or not 1 <= len(launch[key]) <= 3:
                raise InvalidSpace(f"[launch] {key} is a list of one to three expressions")
        for value in (*launch["grid"], *launch["block"], launch.get("shared_bytes", 0)):
            _expression("[launch]", str(value))
    for table in ("parameters", "options"):
        for name in declared.get(table, {}):
            if not _MACRO.fullmatch(name):
                raise InvalidSpace(f"[{table}] {brief(name)} is no name of a macro")
    macros = [*declared.get("parameters", {}), *(name.upper() for name in declared.get("options", {}))]
    if len(set(macros)) < len(macros):
        twice = next(name for name in macros if macros.count(name) > 1)
        raise InvalidSpace(f"macro {twice} would stand for two things, parameters or options")


def _expression(where: str, text: Any) -> None:
    try:
        parse(text)
    except InvalidSpace as error:
        raise InvalidSpace(f"{where}: {error}") from None


def _parameter(path: Path, name: str, declared: Any) -> Parameter:
    values = declared.get("values") if isinstance(declared, dict) else declared
    if not isinstance(values, list):
        raise InvalidSpace(f"{path}: parameter {name} is a list of values, or a table with 'values'")
    try:
        return Parameter(name, tuple(values), declared.get("doc", "") if isinstance(declared, dict) else "")
    except InvalidSpace as error:
        raise InvalidSpace(f"{path}: {error}") from None


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return f"{value!r}f" if isinstance(value, float) else str(value)
