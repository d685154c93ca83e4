"""Kernels written as C++ or CUDA files that declare their own parameters and constraints.

The file begins with a block comment whose first line is `/*[tuner]`; what follows is TOML.
docs/kernel-headers.md says what each key means; `tuner.core.kernel_header` reads them, and
`tuner.core.shared_declarations` what they take from headers.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tuner.core.declared_arguments import checked_only, read_argument
from tuner.core.declared_maps import map_argument
from tuner.core.device_part import device_part, host_names, with_headers
from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.expression import Expression, parse
from tuner.core.found_files import UnreadableFile, read_file
from tuner.core.host_cxx import X86_FEATURES
from tuner.core.identity import kernel_identity, read
from tuner.core.includes import absolute_flags, included_files
from tuner.core.kernel import Argument, Growth, Kernel, KernelStep, Launch, Source
from tuner.core.kernel_header import DTYPE_MACRO, OPTION_MACRO, KernelHeader, read_declaration, read_header
from tuner.core.operator import Operator
from tuner.core.shared_declarations import with_shared
from tuner.core.source import ADDED
from tuner.core.space import Config, SearchSpace, Value
from tuner.core.target import Target
from tuner.core.workload import Workload

_LANGUAGES = {".cpp": ("cxx", ("cpu",)), ".cu": ("nvrtc", ("cuda",))}
# Tables whose expressions are evaluated for a workload on a target with a configuration.
_CONFIGURED = ("let", "constraints", "features", "workspace", "launch", "macros", "maps")
_LARGEST_INT32 = 2**31 - 1


class SourceKernel(Kernel):
    """A kernel in a C++ (`.cpp`) or CUDA (`.cu`) file.

    Args:
        path: the file.
        operators: by name; the one that the file declares gives options, derived sizes and names of tensors.

    Raises:
        InvalidSpace: the file has no declaration, or the declaration is wrong; names the file.
    """

    shape_generic = True

    def __init__(self, path: Path, operators: Mapping[str, Operator]) -> None:
        self.path = path
        try:
            # As text files are read: with line ends of any system.
            self.text = "\n".join(read_file(path).decode().replace("\r\n", "\n").split("\r"))
        except (UnreadableFile, UnicodeDecodeError) as error:
            raise InvalidSpace(f"{path}: cannot be read: {error}") from None
        if path.suffix not in _LANGUAGES:
            raise InvalidSpace(f"{path}: the file's ending is .cpp or .cu")
        self.language, self.target_kinds = _LANGUAGES[path.suffix]
        try:
            # Now, with the text: an edit during a sweep must not rename what is being measured.
            self._declared: Mapping[str, Any] = read_declaration(self.text)
            files = self.source_files()
            declared = with_shared(self._declared, files[1:])
            self.header: KernelHeader = read_header(declared, self.language == "nvrtc", operators)
            self._declared = self.header.declared
            self._contents = read(files)
        except InvalidSpace as error:
            raise InvalidSpace(f"{path}: {error}") from None
        self.name = self._declared["name"]
        self.operator = self._declared["operator"]
        self.summary = self._declared.get("summary", "")
        self.dtypes = tuple(self._declared.get("dtypes", ["f32"]))
        self.options = self.header.options
        self.requires = tuple(self._declared.get("requires", ()))
        self.claims = tuple(self._declared.get("claims", ()))
        self.special_values = self._declared.get("special_values", True)
        self.shape_generic = self._declared.get("shape_generic", True)
        self.accuracy = self._declared.get("accuracy", "")
        self.accumulator = self._declared.get("accumulator", "")
        self.initial = dict(self._declared.get("initial", {}))
        self.checked_only = checked_only(self._declared)
        if "prepare" in self._declared:
            self.constant, self.only_frozen = tuple(self._declared["prepare"]["constant"]), True
        self.grows = "append" in self._declared

    @property
    def left_out(self) -> str:
        """Of a CUDA file that holds host code too, which lines the device does not get; else empty."""
        return self._device_part[1]

    # When it is lowered, not when kernels are listed: to look takes 10 ms a file.
    @cached_property
    def _device_part(self) -> tuple[str, str]:
        """What a device compiler gets of the file and of headers with host code, and what it does not."""
        if self.language != "nvrtc":
            return self.text, ""
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

    def constants(self, workload: Workload, target: Target) -> dict[str, Any]:
        """As `Kernel.constants`; the operator's derived sizes, `dtype`, `has_FEATURE` of those asked for."""
        has = {name: feature in target.features for name, feature in self._asked.items()}
        derived = self.header.operator.derived(workload)
        return {**super().constants(workload, target), **derived, "dtype": workload.dtype, **has}

    @cached_property
    def _asked(self) -> dict[str, str]:
        """Of instruction sets that the file's expressions ask for: `has_amx_tile` -> `amx-tile`."""
        used = frozenset[str]().union(*(parse(text).names for _, _, text in self.header.written))
        sets = {f"has_{re.sub('[-.]', '_', feature)}": feature for feature in X86_FEATURES}
        return {name: sets[name] for name in sorted(used & sets.keys())}

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also checks `[supports]`."""
        reason = super().unsupported(workload, target)
        if reason is None and "supports" in self._declared:
            scope = self._named(("supports",), self.constants(workload, target))
            needs = self.header.table("supports")
            reason = next((words for words, expression in needs if not expression.holds(scope)), None)
        return reason

    def _named(self, tables: tuple[str, ...], scope: dict[str, Any]) -> dict[str, Any]:
        """The scope itself, in which the expressions of these tables have all their names."""
        try:
            self.header.require_names(tables, scope)
        except InvalidSpace as error:
            raise InvalidSpace(f"{self.path}: {error}") from None
        return scope

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """The declared parameters and constraints, with the workload's and target's numbers."""
        header, constants = self.header, self.constants(workload, target)
        self._named(_CONFIGURED, {**constants, **dict.fromkeys(p.name for p in header.parameters)})
        try:
            return SearchSpace(header.parameters, header.constraints, constants, header.definitions)
        except InvalidSpace as error:
            raise InvalidSpace(f"{self.path}: {error}") from None

    def _scope(self, workload: Workload, config: Config, target: Target) -> dict[str, Any]:
        return {**self.constants(workload, target), **config}

    def lower(self, workload: Workload, config: Config, target: Target) -> Source:
        """The file's text behind the macros of the configuration."""
        scope = self._scope(workload, config, target)
        options = {**self.options, **dict(workload.options)}
        macros: dict[str, Value] = {f"{DTYPE_MACRO}{workload.dtype.upper()}": 1, **config}
        macros.update((f"{OPTION_MACRO}{name.upper()}", value) for name, value in options.items())
        macros.update((name, expression(scope)) for name, expression in self.header.table("macros"))
        lines = [f"#define {name} {_literal(value)}" for name, value in macros.items()]
        text = "\n".join([*lines, f'#line 1 "{self.path.name}"', self._device_part[0]])
        threads = int(config.get("threads", 1))
        flags = absolute_flags(self._declared.get("flags", []), self.path.parent.absolute())
        prepare, append = self._declared.get("prepare"), self._declared.get("append")
        requires = self.required(workload.dtype)
        return Source(
            self.language, text, self._declared["entry"], self._arguments(workload, options, scope),
            threads, self._launch(scope),
            {"include": str(self.path.parent), "flags": flags, **({"requires": requires} if requires else {}),
             **({"constants": constants} if (constants := self._declared.get("constants")) else {})},
            prepare=None if prepare is None else KernelStep(
                prepare["entry"], self._arguments(workload, options, scope, prepare["arguments"]), None
            ),
            growth=None if append is None else Growth(
                append["entry"], self._arguments(workload, options, scope, append["arguments"]),
                append["along"],
            ),
        )  # fmt: skip

    def _launch(self, scope: Mapping[str, Any]) -> Launch | None:
        if "launch" not in self._declared:
            return None
        sizes = {key: int(expression(scope)) for key, expression in self.header.table("launch")}
        grid, block = ([sizes.get(f"{key} {i}", 1) for i in range(3)] for key in ("grid", "block"))
        return Launch((grid[0], grid[1], grid[2]), (block[0], block[1], block[2]), sizes["shared_bytes"])

    def _arguments(
        self, workload: Workload, options: Mapping[str, Any], scope: Mapping[str, Any],
        declared: Sequence[str] | None = None,
    ) -> tuple[Argument, ...]:  # fmt: skip
        workspace = dict(self.header.table("workspace"))
        definitions, derived = self.header.definitions, self.header.operator.derived(workload)
        # A yes-or-no option is a macro only: GEMM's `bias` says whether there is a *tensor* of that name.
        numbers = {name: value for name, value in options.items() if not isinstance(value, bool)}
        numbers = {ADDED: 0, **numbers, **derived, **dict(workload.dims)}

        def named(name: str) -> Argument:
            if name in workspace:
                return Argument(name, "workspace", int(workspace[name](scope)))
            if name in self._declared.get("maps", {}):
                return map_argument(name, self._declared, dict(self.header.table("maps")), scope)
            if name in definitions:
                return self._number(name, definitions.expand(name)(scope))
            return self._number(name, numbers[name]) if name in numbers else Argument(name)

        return tuple(read_argument(text, named, scope) for text in declared or self._declared["arguments"])

    def _number(self, name: str, value: Any) -> Argument:
        """A scalar: f32, or int64 in C++ and int32 in CUDA.

        Raises:
            InvalidConfig: it is a text, or larger than an int32.
        """
        if isinstance(value, float):
            return Argument(name, "float32", value)
        if not isinstance(value, int):
            raise InvalidConfig(f"{self.path}: argument {name} is a number, not {value!r}")
        if self.language == "nvrtc" and abs(value) > _LARGEST_INT32:
            raise InvalidConfig(f"{self.path}: argument {name} is {value}, more than an int32 holds")
        return Argument(name, "int64" if self.language == "cxx" else "int32", int(value))

    @property
    def restricted(self) -> bool:
        """Whether one binary does not serve every size: `[supports]` excludes some, or it is of one shape."""
        return not self.shape_generic or "supports" in self._declared

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The declared `arguments`, in call order."""
        return tuple(self._declared["arguments"])

    @property
    def launch_rule(self) -> Mapping[str, Expression]:
        """The declared `[launch]`, written out: `grid 0`, `block 0`, ..., `shared_bytes`; empty in C++."""
        return dict(self.header.table("launch"))

    @property
    def workspace_rule(self) -> Mapping[str, Expression]:
        """The declared `[workspace]`, written out: bytes of each."""
        return dict(self.header.table("workspace"))

    @property
    def map_rule(self) -> Mapping[str, Expression]:
        """The declared `[maps]`, written out: `NAME dims 0`, `NAME box 0`, `NAME swizzle`, ..."""
        return dict(self.header.table("maps"))

    @property
    def map_names(self) -> tuple[str, ...]:
        """The names in `[maps]`."""
        return tuple(self._declared.get("maps", {}))

    def runs_with_any(self, option: str) -> bool:
        """Whether one binary honours an option in every value: no file and no macro of it looks at that."""
        macro = re.compile(rf"\b{OPTION_MACRO}{option.upper()}\b")
        if option not in self.options or any(option in e.names for _, e in self.header.table("macros")):
            return False
        return not any(macro.search(path.read_text(errors="replace")) for path in self.source_files())

    def fewer_operations(self, workload: Workload) -> float:
        """The declared `fewer_operations`, over dimensions, options and derived sizes; 1 by default."""
        derived = self.header.operator.derived(workload)
        scope = {**self.options, **dict(workload.dims), **dict(workload.options), **derived}
        return float(self.header.expressions["", "fewer_operations"](scope))

    def features(self, workload: Workload, config: Config, target: Target) -> dict[str, float]:
        """The declared `[features]`."""
        scope = self._scope(workload, config, target)
        return {name: float(expression(scope)) for name, expression in self.header.table("features")}

    # When it is asked for, not when kernels are listed.
    @cached_property
    def _digest(self) -> str:
        return kernel_identity(self._contents, self._declared)

    @property
    def digest(self) -> str:
        """The identity of `source_files` as they were when this kernel was read."""
        return self._digest

    def present_digest(self) -> str:
        """The same of the files as they are now; raises `OSError` or `InvalidSpace`."""
        files = read(self.source_files())
        declared = read_declaration(files[0][1].decode(errors="replace").replace("\r\n", "\n"))
        return kernel_identity(files, with_shared(declared, [path for path, _ in files[1:]]))

    def source_files(self) -> tuple[Path, ...]:
        """The file and every file of ours it may include, recursively; see `included_files`."""
        flags = self._declared.get("flags", [])
        # Before the declaration is checked, these may be anything.
        texts = isinstance(flags, list) and all(isinstance(flag, str) for flag in flags)
        return included_files(self.path, flags if texts else [])


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return f"{value!r}f" if isinstance(value, float) else str(value)
