"""The C++ text that picks a compiled kernel: by dtype, options, processor, then dimensions."""

from collections.abc import Iterable, Mapping, Sequence

from tuner.core.operator import Operator
from tuner.export.library.header import dtype_constant, literal, option_fields, tensors_of
from tuner.export.library.objects import Embedded
from tuner.export.library.plan import Level, OperatorPlan, OptionClass, Variant
from tuner.export.tree import SIZE, Leaf, Node

_HEAD = """// Picks a compiled kernel. Written by kernel-tuner-lab.
#include "{name}.h"

{system}#include <atomic>
#include <cstring>

extern "C" {{
{declarations}
}}

namespace {{

// Rows of `width` dimensions in ascending order; the place of the one that is equal, or -1.
int find(const int64_t* rows, int count, int width, const int64_t* wanted) {{
    int low = 0, high = count;
    while (low < high) {{
        int middle = (low + high) / 2, order = 0;
        for (int i = 0; i < width && order == 0; ++i) {{
            int64_t there = rows[middle * width + i];
            order = there < wanted[i] ? -1 : there > wanted[i];
        }}
        if (order == 0) return middle;
        if (order < 0) low = middle + 1;
        else high = middle;
    }}
    return -1;
}}

{permission}int detect() {{
{detect}
}}

std::atomic<int> least_level{{0}};

inline int level() {{
    static const int found = detect();
    const int least = least_level.load(std::memory_order_relaxed);
    return found > least ? found : least;
}}

}}  // namespace

extern "C" int {name}_level(void) {{ return level(); }}
extern "C" void {name}_limit_level(int wanted) {{
    least_level.store(wanted < 0 ? 0 : wanted > {last} ? {last} : wanted);
}}
extern "C" const char* {name}_message(int result) {{
    if (result == {upper}_OK) return "done";
    if (result == {upper}_INVALID) return "a null pointer, or a dimension below 1";
    if (result == {upper}_UNSUPPORTED) return "no kernel of this dtype with these options is in the library";
    return "the kernel failed: it has no memory";
}}
"""


_PERMISSION = """// Linux gives a process the state of tiles when asked (arch_prctl(2), ARCH_REQ_XCOMP_PERM).
bool may_use_tiles() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

"""


def needs_permission(feature: str) -> bool:
    """Whether a process has to ask the operating system for a feature of the processor: AMX's tiles."""
    return feature.startswith("amx-")


def dispatcher(
    name: str, plans: Sequence[OperatorPlan], levels: Sequence[tuple[str, ...]],
    embedded: Mapping[str, Embedded],
) -> str:  # fmt: skip
    """The text.

    Args:
        name: of the library.
        plans: its entries.
        levels: features that each level asks a processor for, the most demanding first.
        embedded: the compiled kernels, by the symbols of the plans' variants.
    """
    declared = "\n".join(one.declaration for one in embedded.values())
    if through := {one.through for one in embedded.values() if one.through}:
        kind = "int (*)(void*, const void*, int32_t, void*)"
        declared += "".join(f"\nint {function}({kind}, void**);" for function in sorted(through))
    lines = ["    __builtin_cpu_init();"] if any(levels) else []
    for place, features in enumerate(levels[:-1]):
        asks = [f'__builtin_cpu_supports("{feature}")' for feature in features]
        asks += ["may_use_tiles()"] if any(map(needs_permission, features)) else []
        asked = " && ".join(asks) or "true"
        lines.append(f"    if ({asked}) return {place};")
    lines.append(f"    return {len(levels) - 1};")
    tiles = any(needs_permission(feature) for features in levels for feature in features)
    head = _HEAD.format(
        name=name, upper=name.upper(), declarations=declared, detect="\n".join(lines), last=len(levels) - 1,
        permission=_PERMISSION if tiles else "",
        system="#include <sys/syscall.h>\n#include <unistd.h>\n\n" if tiles else "",
    )  # fmt: skip
    return head + "".join(_operator(name, plan, levels, embedded) for plan in plans)


def _operator(
    name: str, plan: OperatorPlan, levels: Sequence[tuple[str, ...]], embedded: Mapping[str, Embedded]
) -> str:
    """What picks a kernel, a table of what calls each, and the two entries on top of them."""
    operator, upper = plan.operator, name.upper()
    entry, problem = f"{name}_{operator.name}", f"const {name}_{operator.name}_problem* p"
    variants = plan.variants
    tensors = tensors_of(operator, variants[0].workload)
    callers = [
        text for v in variants for text in _caller(v, embedded[v.symbol], list(tensors), problem, operator)
    ]
    table = [f"    {{call_{v.symbol}, {literal(v.label)}}}," for v in variants]
    lines = [
        "", "namespace {", *callers,
        f"struct {{ int (*call)({problem}, void* const* t); const char* label; }}",
        f"const kernels_{operator.name}[] = {{", *table, "};", "",
        *_pick(name, plan, levels, problem), "}  // namespace", "",
        f'extern "C" const char* {entry}_kernel({name}_dtype dtype, {problem}) {{',
        f"    const int place = pick_{operator.name}(dtype, p);",
        f"    return place < 0 ? nullptr : kernels_{operator.name}[place].label;", "}", "",
        f'extern "C" int {entry}({name}_dtype dtype, {problem},',
        f"    const {entry}_tensors* t) {{",
        f"    if (!t) return {upper}_INVALID;",
        f"    const int place = pick_{operator.name}(dtype, p);",
        "    if (place < 0) return place;",
    ]  # fmt: skip
    defaults = dict(operator.options)
    for tensor, (_, options) in tensors.items():
        there = " || ".join(_is(o, f"p->{o}", defaults[o], equal=False) for o in options) or "true"
        lines += [
            f"    const bool has_{tensor} = {there};",
            f"    if (has_{tensor} && !t->{tensor}) return {upper}_INVALID;",
            f"    void* const {tensor} =",
            f"        has_{tensor} ? const_cast<void*>(static_cast<const void*>(t->{tensor})) : nullptr;",
        ]
    lines += [
        f"    void* const tensors[] = {{{', '.join(tensors)}}};",
        f"    return kernels_{operator.name}[place].call(p, tensors);", "}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _pick(name: str, plan: OperatorPlan, levels: Sequence[tuple[str, ...]], problem: str) -> Iterable[str]:
    """The function that gives a kernel's place in the table, or a negative code."""
    operator, upper = plan.operator, name.upper()
    whole = [option for kind, option, _ in option_fields(operator) if kind == "int64_t"]
    beyond = [*(f"p->{dim} < 1" for dim in operator.dims), *(f"p->{o} < 0" for o in whole)]
    yield f"int pick_{operator.name}({name}_dtype dtype, {problem}) {{"
    yield f"    if (!p || {' || '.join(beyond)}) return {upper}_INVALID;"
    yield f"    const int64_t dims[] = {{{', '.join(f'p->{dim}' for dim in operator.dims)}}};"
    yield "    (void)dims;"
    place = {variant.symbol: i for i, variant in enumerate(plan.variants)}
    for one in plan.classes:
        yield from _class(name, plan, one, levels, place)
    yield f"    return {upper}_UNSUPPORTED;"
    yield "}"


def _class(
    name: str, plan: OperatorPlan, one: OptionClass, levels: Sequence[tuple[str, ...]],
    place: Mapping[str, int],
) -> Iterable[str]:  # fmt: skip
    operator = plan.operator
    asked = [f"dtype == {dtype_constant(name, one.dtype)}"]
    asked += [_is(option, f"p->{option}", value) for option, value in one.fixed.items()]
    yield f"    if ({' && '.join(asked)}) {{"
    yield "        switch (level()) {"
    for number, features in enumerate(levels):
        # A level that this class has no kernels for gets those of the next lesser one.
        serving = next((lv for lv in one.levels if set(lv.features) <= set(features)), None)
        if serving is None:
            continue
        yield f"        case {number}: {{"
        yield from _level(operator.dims, serving, one, place)
        yield "        }"
    yield "        }"
    yield f"        return {name.upper()}_UNSUPPORTED;"
    yield "    }"


def _level(dims: Sequence[str], level: Level, one: OptionClass, place: Mapping[str, int]) -> Iterable[str]:
    pad = "            "
    if level.exact:
        rows = sorted(level.exact.items())
        numbers = ", ".join(str(size) for row, _ in rows for size in row)
        yield f"{pad}static const int64_t rows[] = {{{numbers}}};"
        yield f"{pad}switch (find(rows, {len(rows)}, {len(dims)}, dims)) {{"
        for number, (_, variant) in enumerate(rows):
            # Of a static kernel the options that others take at run time have to be its own as well.
            left = {k: v for k, v in one.options.items() if k not in one.fixed} if variant.static else {}
            asked = " && ".join(_is(option, f"p->{option}", value) for option, value in left.items())
            condition = f"if ({asked}) " if asked else ""
            yield f"{pad}case {number}: {condition}return {place[variant.symbol]};{' break;' * bool(asked)}"
        yield f"{pad}}}"
    outside = [
        f"dims[{i}] < {low / 2!r} || dims[{i}] > {high * 2!r}"
        for i, dim in enumerate(dims) if dim in level.ranges for low, high in [level.ranges[dim]]
    ]  # fmt: skip
    if outside:
        yield f"{pad}if ({' || '.join(outside)}) return {place[level.default.symbol]};"
    if not isinstance(level.tree, Leaf):
        yield f"{pad}const double size = {' * '.join(f'double(dims[{i}])' for i in range(len(dims)))};"
        yield f"{pad}(void)size;"
    yield from _tree(level.tree, level, dims, place, pad)


def _tree(node: Node, level: Level, dims: Sequence[str], place: Mapping[str, int], pad: str) -> Iterable[str]:
    if isinstance(node, Leaf):
        yield f"{pad}return {place[level.choices[node.choice].symbol]};"
        return
    value = "size" if node.feature == SIZE else f"dims[{list(dims).index(node.feature)}]"
    yield f"{pad}if ({value} <= {node.at!r}) {{"
    yield from _tree(node.low, level, dims, place, pad + "    ")
    yield f"{pad}}} else {{"
    yield from _tree(node.high, level, dims, place, pad + "    ")
    yield f"{pad}}}"


def _caller(
    variant: Variant, embedded: Embedded, tensors: Sequence[str], problem: str, operator: Operator
) -> Iterable[str]:
    """A function that hands a problem and its tensors to one kernel."""
    values, pointers = [], []
    for i, argument in enumerate(embedded.arguments):
        if argument.kind == "tensor":
            known = argument.name in tensors
            pointers.append(f"t[{tensors.index(argument.name)}]" if known else "nullptr")
            continue
        kind = {"int64": "int64_t", "int32": "int32_t", "float32": "float"}[argument.kind]
        told = argument.name in operator.dims or argument.name in operator.options
        text = f"p->{argument.name}" if told else literal(argument.value or 0)
        values.append(f"    {kind} x{i} = {kind}({text});")
        pointers.append(f"&x{i}")
    function = variant.symbol
    call = f"{embedded.through}({function}, a)" if embedded.through else f"{function}(a)"
    yield f"int call_{variant.symbol}({problem}, void* const* t) {{"
    yield "    (void)p, (void)t;"
    yield from values
    yield f"    void* a[] = {{{', '.join(pointers)}}};"
    yield f"    return {call};"
    yield "}"


def _is(option: str, text: str, value: object, equal: bool = True) -> str:
    if isinstance(value, bool):
        return f"!!{text} == {int(value)}" if equal else f"!!{text} != {int(value)}"
    if isinstance(value, str):
        same = f"({text} && std::strcmp({text}, {literal(value)}) == 0)"
        return same if equal else f"!{same}"
    assert isinstance(value, int | float), option
    return f"{text} {'==' if equal else '!='} {literal(value)}"
