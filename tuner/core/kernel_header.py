"""The declaration at the head of a C++ or CUDA kernel's file: read, and checked before it is used.

docs/kernel-headers.md says what each key means.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.brief import brief
from tuner.core.declared_arguments import check_arguments, check_beginnings, names_in
from tuner.core.declared_maps import check_maps, written_maps
from tuner.core.definitions import Definitions
from tuner.core.errors import InvalidSpace, UnknownName, nearest
from tuner.core.expression import Expression, parse
from tuner.core.kernel import FROZEN, STRICT
from tuner.core.operator import Operator
from tuner.core.source import ADDED
from tuner.core.space import Constraint, Parameter
from tuner.core.toml_text import NotToml, parse_toml
from tuner.core.workload import Option

_HEADER = re.compile(r"/\*\[tuner\]\s*\n(.*?)\*/", re.DOTALL)
_MACRO = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_KNOWN = {
    "name", "operator", "summary", "dtypes", "entry", "arguments", "options", "let", "parameters",
    "constraints", "features", "launch", "macros", "flags", "requires", "claims", "workspace",
    "supports", "accumulator", "initial", "constants", "fewer_operations", "special_values", "shape_generic",
    "use", "prepare", "append", "maps", "accuracy",
}  # fmt: skip
_TEXTS = ("accumulator", "accuracy", "name", "operator", "summary", "entry", "fewer_operations")
_LISTS = ("dtypes", "arguments", "flags", "requires", "claims")
_TABLES = (
    "initial",
    "constants",
    "let",
    "parameters",
    "constraints",
    "features",
    "workspace",
    "launch",
    "supports",
    "macros",
    "prepare",
    "append",
    "maps",
)
_SWITCHES = ("special_values", "shape_generic")
_EXPRESSIONS = ("let", "constraints", "features", "workspace", "supports", "macros")
OPTION_MACRO = "OPT_"
"""What the macro of an operator's option begins with: option `pad` is `OPT_PAD`, and `PAD` a parameter's."""
DTYPE_MACRO = "DTYPE_"


@dataclass(frozen=True)
class KernelHeader:
    """What a file declares. Expressions are written out (`Definitions.expand`), but for `constraints`.

    Attributes:
        declared: the TOML, with the groups that it uses.
        operator: that the kernel computes.
        options: that it honours, with the operator's defaults.
        definitions: `[let]`.
        parameters, constraints: of its search space.
        expressions: by place, e.g. `("launch", "grid 0")`, all but those of `let` and `constraints`.
    """

    declared: Mapping[str, Any]
    operator: Operator
    options: Mapping[str, Option]
    definitions: Definitions
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...]
    expressions: Mapping[tuple[str, str], Expression]

    @property
    def written(self) -> list[tuple[str, str, str]]:
        """Every expression as it is declared: (table, key, text)."""
        return list(_written(self.declared))

    def table(self, name: str) -> Iterator[tuple[str, Expression]]:
        """The expressions of a table, by name."""
        return ((key, e) for (table, key), e in self.expressions.items() if table == name)

    def require_names(self, tables: tuple[str, ...], known: Mapping[str, Any]) -> None:
        """Raises `InvalidSpace` where an expression of these tables uses a name that nothing has.

        Args:
            tables: of the declaration, `let` among them.
            known: parameters, and the constants of a workload on a target.
        """
        names = {*known, *self.definitions.written}
        for table, key, text in self.written:
            if table not in tables:
                continue
            # What says whether a workload is computed stands before any choice of parameters.
            used = self.expressions[table, key].names if table == "supports" else parse(text).names
            if unknown := sorted(used - (known.keys() if table == "supports" else names)):
                where = f"constraint {key}" if table == "constraints" else f"[{table}] {key}"
                raise InvalidSpace(f"{where} uses unknown {unknown[0]}{_hint(unknown[0], names)}")


def read_declaration(text: str) -> dict[str, Any]:
    """The TOML at the head of a source text, as it stands.

    Raises:
        InvalidSpace: there is no declaration, or it is not TOML.
    """
    match = _HEADER.search(text)
    if match is None:
        raise InvalidSpace("no declaration; the file must begin with a comment '/*[tuner]'")
    try:
        return parse_toml(match[1])
    except NotToml as error:
        raise InvalidSpace(f"the declaration is not TOML: {error}") from None


def read_header(declared: Mapping[str, Any], cuda: bool, operators: Mapping[str, Operator]) -> KernelHeader:
    """A declaration, checked, with its expressions written out.

    Args:
        declared: by `read_declaration`, with what it uses of others (`shared_declarations.with_shared`).
        cuda: whether it is CUDA, which wants a `[launch]`.
        operators: by name, one of which it computes.

    Raises:
        InvalidSpace: what is wrong with it, in one line.
    """
    _check_keys(declared)
    _check_launch(declared.get("launch"), cuda)
    operator = operators.get(declared["operator"])
    if operator is None:
        raise InvalidSpace(str(UnknownName("operator", declared["operator"], list(operators))))
    options = _options(declared.get("options", []), operator)
    try:
        definitions = Definitions(declared.get("let", {}))
    except InvalidSpace as error:
        raise InvalidSpace(f"[let] {error}") from None
    parameters = tuple(_parameter(name, v) for name, v in declared.get("parameters", {}).items())
    constraints = tuple(Constraint(n, e) for n, e in declared.get("constraints", {}).items())
    expressions = {}
    for table, key, expression in _written(declared):
        try:
            if table != "let":
                expressions[table, key] = definitions.expand(expression)
        except InvalidSpace as error:
            place = f"[{table}] {key}" if table else key
            raise InvalidSpace(f"{place}: {error}") from None
    header = KernelHeader(declared, operator, options, definitions, parameters, constraints, expressions)
    _check_macros(header)
    _check_names(header)
    if cuda:
        check_arguments(declared["arguments"])
    check_maps(declared, cuda, operator)
    check_beginnings(declared)
    for name in declared.get("initial", {}):
        known = [*operator.tensors, *declared.get("workspace", {})]
        if name not in known:
            raise InvalidSpace(f"[initial] {brief(name)} is no tensor or workspace: {', '.join(known)}")
    if "prepare" in declared:
        _check_prepare(header, cuda)
    if "append" in declared:
        _check_append(header)
    more = [declared.get(table, {}).get("arguments", ()) for table in ("prepare", "append")]
    for name in names_in([*declared["arguments"], *more[0], *more[1]]):
        if name != ADDED or name not in more[1]:
            _check_argument(header, name)
    return header


def _check_prepare(header: KernelHeader, cuda: bool) -> None:
    """`entry`, `arguments` and `constant`; of tensors it takes the constant inputs alone."""
    operator, declared = header.operator, header.declared["prepare"]
    lists = [declared.get(key) for key in ("arguments", "constant")]
    whole = declared.keys() == {"entry", "arguments", "constant"} and isinstance(declared["entry"], str)
    if not whole or not all(isinstance(v, list) and v and all(isinstance(t, str) for t in v) for v in lists):
        raise InvalidSpace("[prepare] has entry (a text), arguments and constant (lists of texts)")
    if cuda or FROZEN not in operator.options:
        what = "is for C++ kernels" if cuda else f"is for operators with the option {FROZEN}"
        raise InvalidSpace(f"[prepare] {what}")
    for name in declared["constant"]:
        if name not in operator.tensors:
            raise InvalidSpace(f"[prepare] constant: {brief(name)} is no tensor of {operator.name}")
    for name in names_in(declared["arguments"]):
        if name in operator.tensors and name not in declared["constant"]:
            raise InvalidSpace(f"[prepare] takes {name}, which is not among its constant inputs")


def _check_append(header: KernelHeader) -> None:
    """`entry`, `arguments` and `along`: the dimension that grows is told to the kernel and to the entry."""
    operator, declared = header.operator, header.declared["append"]
    arguments = declared.get("arguments")
    texts = all(isinstance(declared.get(key), str) for key in ("entry", "along"))
    listed = isinstance(arguments, list) and all(isinstance(text, str) for text in arguments)
    if declared.keys() != {"entry", "arguments", "along"} or not texts or not listed:
        raise InvalidSpace("[append] has entry and along (texts) and arguments (a list of texts)")
    if "prepare" not in header.declared:
        raise InvalidSpace("[append] lays out more of what [prepare] does, and there is none")
    along = declared["along"]
    if along not in operator.dims:
        raise InvalidSpace(f"[append] along: {brief(along)} is no dimension of {operator.name}")
    for where, names in (("arguments", header.declared["arguments"]), ("[append] arguments", arguments)):
        if along not in names:
            raise InvalidSpace(f"{where} lack {along}, along which [append] lays out more")
    if ADDED not in arguments:
        raise InvalidSpace(f"[append] arguments lack {ADDED}, how many entries are laid out more")
    constant = header.declared["prepare"]["constant"]
    if taken := [name for name in arguments if name in operator.tensors and name not in constant]:
        raise InvalidSpace(f"[append] takes {taken[0]}, which is not among the constant inputs of [prepare]")


def _hint(name: str, known: Any) -> str:
    close = nearest(name, known)
    return f": did you mean {close!r}?" if close else ""


def _check_keys(declared: Mapping[str, Any]) -> None:
    unknown = declared.keys() - _KNOWN
    missing = {"name", "operator", "entry", "arguments"} - declared.keys()
    if unknown or missing:
        what = f"unknown key {min(unknown)!r}" if unknown else f"missing key {min(missing)!r}"
        raise InvalidSpace(f"{what} in the declaration; keys are {', '.join(sorted(_KNOWN))}")
    for key, value in declared.items():
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if key in _TEXTS and not (isinstance(value, str) and value):
            raise InvalidSpace(f"{key} is a text, not {brief(value)}")
        if key in _LISTS and not texts:
            raise InvalidSpace(f"{key} is a list of texts, not {brief(value)}")
        if key in _TABLES and not isinstance(value, dict):
            raise InvalidSpace(f"[{key}] is a table, not {brief(value)}")
        if key in _SWITCHES and not isinstance(value, bool):
            raise InvalidSpace(f"{key} is true or false, not {brief(value)}")
        _check_one_line(key, value, key in (*_EXPRESSIONS, "launch", "maps", "fewer_operations"))


def _check_one_line(place: str, value: Any, expressions: bool) -> None:
    """Refuses control characters, and line ends but in expressions: a terminal would act on them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_one_line(f"a name in [{place}]", key, False)
            _check_one_line(f"{place} {key}", inner, expressions)
    elif isinstance(value, list):
        for inner in value:
            _check_one_line(place, inner, expressions)
    elif isinstance(value, str):
        text = value.translate({ord(c): " " for c in "\n\r\t"}) if expressions else value
        if not text.isprintable():
            raise InvalidSpace(f"{place} has a line end or a control character in it: {brief(value)}")


def _check_launch(launch: Any, cuda: bool) -> None:
    if cuda != (launch is not None):
        raise InvalidSpace("a CUDA kernel has a [launch] table, a C++ kernel has none")
    if launch is None:
        return
    if not {"grid", "block"} <= launch.keys() <= {"grid", "block", "shared_bytes"}:
        raise InvalidSpace("[launch] has grid and block, and shared_bytes where it is not 0")
    for key in ("grid", "block"):
        if not isinstance(launch[key], list) or not 1 <= len(launch[key]) <= 3:
            raise InvalidSpace(f"[launch] {key} is a list of one to three expressions")


def _options(declared: Any, operator: Operator) -> dict[str, Option]:
    """`"operator"`, a list of names that may begin with it, or a table of names and their defaults."""
    has = {name: value for name, value in operator.options.items() if name not in (STRICT, FROZEN)}
    unnamed = {name: value for name, value in has.items() if name not in operator.named_options}
    if declared == "operator":
        return unnamed
    if isinstance(declared, list) and declared[:1] == ["operator"]:
        return {**unnamed, **_options(declared[1:], operator)}
    if not isinstance(declared, dict) and not (
        isinstance(declared, list) and all(isinstance(name, str) for name in declared)
    ):
        raise InvalidSpace(
            f'options is "operator" (all that need not be named) or a list of names, not {brief(declared)}'
        )
    for name in declared:
        if name not in has:
            known = ", ".join(has) or "none"
            raise InvalidSpace(
                f"{operator.name} has no option {brief(name)}{_hint(name, has)} (it has {known})"
            )
        if isinstance(declared, dict) and declared[name] != has[name]:
            raise InvalidSpace(f"option {name} is {has[name]!r} by default, not {brief(declared[name])}")
    return {name: has[name] for name in declared}


def _parameter(name: str, declared: Any) -> Parameter:
    values = declared.get("values") if isinstance(declared, dict) else declared
    if isinstance(declared, dict) and (unknown := sorted(declared.keys() - {"values", "doc"})):
        raise InvalidSpace(f"parameter {brief(name)[1:-1]} has values and doc, not {brief(unknown[0])}")
    if not isinstance(values, list):
        raise InvalidSpace(f"parameter {brief(name)[1:-1]} is a list of values, or a table with 'values'")
    return Parameter(name, tuple(values), declared.get("doc", "") if isinstance(declared, dict) else "")


def _written(declared: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every expression as it is declared: (table, key, text); the table is empty for `fewer_operations`."""
    for table in _EXPRESSIONS:
        for key, text in declared.get(table, {}).items():
            yield table, key, text
    yield "", "fewer_operations", declared.get("fewer_operations", "1")
    launch = declared.get("launch", {})
    for key in ("grid", "block"):
        for i, text in enumerate(launch.get(key, ())):
            yield "launch", f"{key} {i}", str(text)
    if launch:
        yield "launch", "shared_bytes", str(launch.get("shared_bytes", 0))
    yield from written_maps(declared)


def _check_macros(header: KernelHeader) -> None:
    declared = header.declared
    named = [*declared.get("parameters", {}), *declared.get("macros", {})]
    for name in named:
        if not _MACRO.fullmatch(name):
            table = "parameters" if name in declared.get("parameters", {}) else "macros"
            raise InvalidSpace(f"[{table}] {brief(name)} is no name of a macro")
        if name.startswith((OPTION_MACRO, DTYPE_MACRO)):
            raise InvalidSpace(
                f"macro {name}: {OPTION_MACRO} begins macros of options, {DTYPE_MACRO} those of dtypes"
            )
        if named.count(name) > 1:
            raise InvalidSpace(f"macro {name} would stand for two things, a parameter and an expression")
    if declared.get("shape_generic", True):
        sizes = {*header.operator.dims, *_derived(header.operator)}
        for name, expression in header.table("macros"):
            if used := sorted(expression.names & sizes):
                raise InvalidSpace(
                    f"[macros] {name} uses the size {used[0]}, and one binary is to compute any shape: "
                    "pass it as an argument, or declare shape_generic = false"
                )


def _derived(operator: Operator) -> tuple[str, ...]:
    example = operator.parse(operator.example, operator.dtypes[0])
    return tuple(operator.derived(example))


def _check_names(header: KernelHeader) -> None:
    """A name means one thing."""
    operator = header.operator
    meanings = {
        "parameter": [p.name for p in header.parameters], "dimension": operator.dims,
        "option": operator.options, "derived size": _derived(operator), "tensor": operator.tensors,
        "workspace": header.declared.get("workspace", {}),
    }  # fmt: skip
    for name in header.definitions.written:
        for meaning, names in meanings.items():
            if name in names:
                raise InvalidSpace(f"[let] {name} is the name of a {meaning} too: give it another")


def _check_argument(header: KernelHeader, name: str) -> None:
    operator, sizes = header.operator, _derived(header.operator)
    numbers = [n for n, value in header.options.items() if not isinstance(value, bool)]
    known = [
        *operator.tensors, *operator.dims, *numbers, *sizes, *header.definitions.written,
        *header.declared.get("workspace", {}), *header.declared.get("maps", {}),
    ]  # fmt: skip
    if name in known:
        return
    if name in header.options:
        raise InvalidSpace(
            f"argument {name} is a yes-or-no option: use its macro {OPTION_MACRO}{name.upper()} instead"
        )
    if name in operator.options:
        raise InvalidSpace(f"argument {name} is an option of {operator.name} that `options` leaves out")
    raise InvalidSpace(
        f"argument {brief(name)} is no tensor, size, option, [let] or workspace{_hint(name, known)} "
        f"(it may be one of {', '.join(known)})"
    )
