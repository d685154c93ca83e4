"""The C++ text that picks a compiled kernel: by dtype, options, processor, then dimensions."""

from collections.abc import Iterable, Sequence

from tuner.core.kernel import Argument
from tuner.core.workload import Workload
from tuner.export.library.header import (
    dtype_constant,
    literal,
    option_fields,
    tensors_of,
)
from tuner.export.library.plan import Level, OperatorPlan, OptionClass, Variant
from tuner.export.tree import SIZE, Leaf, Node

_HEAD = """// Picks a compiled kernel. Written by kernel-tuner-lab.
#include "{name}.h"

#include <atomic>
#include <cstring>

typedef int (*Kernel)(void**);
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

int detect() {{
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


def dispatcher(name: str, plans: Sequence[OperatorPlan], levels: Sequence[tuple[str, ...]]) -> str:
    """The text.

    Args:
        name: of the library.
        plans: its entries.
        levels: features that each level asks a processor for, the most demanding first.
    """
    declared = "\n".join(f"int {v.symbol}(void**);" for plan in plans for v in plan.variants)
    lines = ["    __builtin_cpu_init();"] if any(levels) else []
    for place, features in enumerate(levels[:-1]):
        asked = " && ".join(f'__builtin_cpu_supports("{feature}")' for feature in features) or "true"
        lines.append(f"    if ({asked}) return {place};")
    lines.append(f"    return {len(levels) - 1};")
    head = _HEAD.format(
        name=name, upper=name.upper(), declarations=declared, detect="\n".join(lines), last=len(levels) - 1
    )
    return head + "".join(_entry(name, plan, levels) for plan in plans)


def _entry(name: str, plan: OperatorPlan, levels: Sequence[tuple[str, ...]]) -> str:
    operator, upper = plan.operator, name.upper()
    tensors = tensors_of(operator, plan.variants[0].workload)
    dims = list(operator.dims)
    lines = [
        "",
        f'extern "C" int {name}_{operator.name}({name}_dtype dtype, const {name}_{operator.name}_problem* p,',
        f"    const {name}_{operator.name}_tensors* t) {{",
        f"    if (!p || !t) return {upper}_INVALID;",
        f"    if ({' || '.join(f'p->{dim} < 1' for dim in dims)}) return {upper}_INVALID;",
        f"    const int64_t dims[] = {{{', '.join(f'p->{dim}' for dim in dims)}}};",
        "    (void)dims;",
    ]
    defaults = dict(operator.options)
    for tensor, (_, options) in tensors.items():
        there = " || ".join(_is(o, f"p->{o}", defaults[o], equal=False) for o in options) or "true"
        lines += [
            f"    const bool has_{tensor} = {there};",
            f"    if (has_{tensor} && !t->{tensor}) return {upper}_INVALID;",
            f"    void* const {tensor} =",
            f"        has_{tensor} ? const_cast<void*>(static_cast<const void*>(t->{tensor})) : nullptr;",
            f"    (void){tensor};",
        ]
    whole = [option for kind, option, _ in option_fields(operator) if kind == "int64_t"]
    lines += [f"    if (p->{o} < 0) return {upper}_INVALID;" for o in whole]
    for one in plan.classes:
        lines += _class(name, plan, one, levels)
    lines += [f"    return {upper}_UNSUPPORTED;", "}", ""]
    return "\n".join(lines)


def _class(
    name: str, plan: OperatorPlan, one: OptionClass, levels: Sequence[tuple[str, ...]]
) -> Iterable[str]:
    operator = plan.operator
    asked = [f"dtype == {dtype_constant(name, one.dtype)}"]
    asked += [_is(option, f"p->{option}", value) for option, value in one.fixed.items()]
    yield f"    if ({' && '.join(asked)}) {{"
    yield "        switch (level()) {"
    for place, features in enumerate(levels):
        # A level that this class has no kernels for gets those of the next lesser one.
        serving = next((lv for lv in one.levels if set(lv.features) <= set(features)), None)
        if serving is None:
            continue
        yield f"        case {place}: {{"
        yield from _level(operator.dims, serving, list(operator.options))
        yield "        }"
    yield "        }"
    yield f"        return {name.upper()}_UNSUPPORTED;"
    yield "    }"


def _level(dims: Sequence[str], level: Level, options: Sequence[str]) -> Iterable[str]:
    pad = "            "
    if level.exact:
        rows = sorted(level.exact.items())
        numbers = ", ".join(str(size) for row, _ in rows for size in row)
        yield f"{pad}static const int64_t rows[] = {{{numbers}}};"
        yield f"{pad}switch (find(rows, {len(rows)}, {len(dims)}, dims)) {{"
        for place, (_, variant) in enumerate(rows):
            yield f"{pad}case {place}: {_call(variant, dims, options)}"
        yield f"{pad}}}"
    outside = [
        f"dims[{i}] < {low / 2!r} || dims[{i}] > {high * 2!r}"
        for i, dim in enumerate(dims) if dim in level.ranges for low, high in [level.ranges[dim]]
    ]  # fmt: skip
    if outside:
        yield f"{pad}if ({' || '.join(outside)}) {_call(level.default, dims, options)}"
    if not isinstance(level.tree, Leaf):
        yield f"{pad}const double size = {' * '.join(f'double(dims[{i}])' for i in range(len(dims)))};"
        yield f"{pad}(void)size;"
    yield from _tree(level.tree, level, dims, options, pad)


def _tree(node: Node, level: Level, dims: Sequence[str], options: Sequence[str], pad: str) -> Iterable[str]:
    if isinstance(node, Leaf):
        # Where fewer than half of the tuned shapes like it are served well, the rule is unsure.
        variant = level.choices[node.choice] if node.good >= 0.5 else level.default
        yield pad + _call(variant, dims, options)
        return
    value = "size" if node.feature == SIZE else f"dims[{list(dims).index(node.feature)}]"
    yield f"{pad}if ({value} <= {node.at!r}) {{"
    yield from _tree(node.low, level, dims, options, pad + "    ")
    yield f"{pad}}} else {{"
    yield from _tree(node.high, level, dims, options, pad + "    ")
    yield f"{pad}}}"


def _call(variant: Variant, dims: Sequence[str], options: Sequence[str]) -> str:
    arguments = variant.kernel.lower(variant.workload, variant.config, variant.target).arguments
    values, pointers = [], []
    for i, argument in enumerate(arguments):
        if argument.kind == "tensor":
            pointers.append(argument.name if _known(argument, variant.workload) else "nullptr")
            continue
        kind = {"int64": "int64_t", "int32": "int32_t", "float32": "float"}[argument.kind]
        field = argument.name in dims or argument.name in options
        text = f"p->{argument.name}" if field else literal(argument.value or 0)
        values.append(f"{kind} x{i} = {kind}({text});")
        pointers.append(f"&x{i}")
    return f"{{ {' '.join(values)} void* a[] = {{{', '.join(pointers)}}}; return {variant.symbol}(a); }}"


def _known(argument: Argument, workload: Workload) -> bool:
    from tuner import registry

    return argument.name in tensors_of(registry.operator(workload.operator), workload)


def _is(option: str, text: str, value: object, equal: bool = True) -> str:
    if isinstance(value, bool):
        return f"!!{text} == {int(value)}" if equal else f"!!{text} != {int(value)}"
    if isinstance(value, str):
        same = f"({text} && std::strcmp({text}, {literal(value)}) == 0)"
        return same if equal else f"!{same}"
    assert isinstance(value, int | float), option
    return f"{text} {'==' if equal else '!='} {literal(value)}"
