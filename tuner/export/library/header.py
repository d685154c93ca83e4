"""The C header of a library: one entry an operator, its problem and its tensors."""

import itertools
from collections.abc import Mapping, Sequence

from tuner.core.digest import digest
from tuner.core.errors import TunerError
from tuner.core.kernel import FROZEN, STRICT
from tuner.core.operator import Operator
from tuner.core.tensors import TensorSpec
from tuner.core.workload import Option, Workload
from tuner.export.library.plan import OperatorPlan

# STORAGE of the operators: what a dtype's elements are in C.
_HEAD = """/* Tuned kernels of {operators}. Written by kernel-tuner-lab; no Python is needed at run time.
 *
 * Every entry may be called from several threads at once. It picks a compiled kernel by dtype, options,
 * dimensions and what the processor can do; any dimensions are served, those that were tuned by what is
 * fastest there. Tensors are contiguous, row-major, and do not overlap. Kernels of more than one thread use
 * OpenMP: in a child made by fork() after a call they would wait for threads that are not there, so start
 * processes with exec.
 */
#ifndef {guard}
#define {guard}

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#if defined(__GNUC__)
#define {upper}_API __attribute__((visibility("default")))
#else
#define {upper}_API
#endif

/* What an entry returns; a number above zero is a kernel's own error, such as no memory. */
enum {{
    {upper}_OK = 0,
    {upper}_INVALID = -1,     /* a null pointer, or a dimension below 1 */
    {upper}_UNSUPPORTED = -2  /* no kernel of this dtype with these options is in the library */
}};

typedef enum {{ {dtypes} }} {name}_dtype;

/* What a result means, in English. */
{upper}_API const char* {name}_message(int result);

/* Which kernels this processor gets: 0 the most demanding ones. */
{upper}_API int {name}_level(void);

/* Never use kernels more demanding than this level, as on a lesser processor: for tests. */
{upper}_API void {name}_limit_level(int level);
"""
_TAIL = """
#ifdef __cplusplus
}
#endif

#endif
"""

DTYPES = ("f32", "f16", "bf16", "int8", "fp8", "tf32", "e4m3", "e5m2")


def dtype_constant(name: str, dtype: str) -> str:
    """`OPERATORS_F32`."""
    return f"{name.upper()}_{dtype.upper()}"


def option_fields(operator: Operator) -> list[tuple[str, str, Option]]:
    """(C type, name, default) of the options that a problem has."""
    found: list[tuple[str, str, Option]] = []
    for name, default in operator.options.items():
        if name in (STRICT, FROZEN):
            continue  # which arithmetic may be used, and when: every kernel of a library is as it was tuned
        if isinstance(default, bool):
            found.append(("int", name, default))
        elif isinstance(default, int):
            found.append(("int64_t", name, default))
        elif isinstance(default, float):
            found.append(("double", name, default))
        else:
            found.append(("const char*", name, default))
    return found


def literal(value: Option) -> str:
    """An option's value in C."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def tensors_of(operator: Operator, workload: Workload) -> Mapping[str, tuple[bool, tuple[str, ...]]]:
    """Of each tensor there may be: whether it is written, and the options that bring it; none: always.

    Found by asking for the signature with one option after the other changed.
    """
    # Those of the example: a dtype may not have the workload's (sums of 200,000 products of int8 do not fit),
    # and a tensor that one of its options brings would be missing.
    dims = dict(operator.parse(operator.example).dims)
    plain = operator.signature(operator.workload(workload.dtype, **dims))
    always = {spec.name for spec in plain}
    brought: dict[str, tuple[bool, tuple[str, ...]]] = {spec.name: (spec.output, ()) for spec in plain}
    for name, dtype in itertools.product(operator.options, operator.dtypes):
        # Some options are of problems with another one only, which may bring tensors of its own.
        for beside in ((), *((other,) for other, usual in operator.options.items() if usual is False)):
            found = _signature(operator, dtype, dims, (*beside, name))
            known = {spec.name for spec in _signature(operator, dtype, dims, beside)} if beside else always
            for spec in found:
                output, options = brought.get(spec.name, (spec.output, ()))
                if spec.name not in always | known and name not in options:
                    brought[spec.name] = output, (*options, name)
            if found:
                break
    return dict(sorted(brought.items(), key=lambda item: item[1][0]))  # what is written comes last


def _signature(
    operator: Operator, dtype: str, dims: Mapping[str, int], names: Sequence[str]
) -> tuple[TensorSpec, ...]:
    """The tensors with these options changed; none where they take others beside them, or dimensions."""
    changed: dict[str, Option] = {}
    for name in names:
        default = operator.options[name]
        if isinstance(default, str):
            return ()
        changed[name] = not default if isinstance(default, bool) else default + 1
    try:
        return operator.signature(operator.workload(dtype, **dims, **changed))
    except (TunerError, ValueError, ZeroDivisionError):
        return ()


def header(name: str, plans: Sequence[OperatorPlan]) -> str:
    """The header's text.

    Args:
        name: of the library, a C identifier: what every name in it begins with.
        plans: its entries.
    """
    upper = name.upper()
    dtypes = ", ".join(f"{dtype_constant(name, dtype)} = {i}" for i, dtype in enumerate(DTYPES))
    operators = ", ".join(plan.operator.name for plan in plans)
    parts = [_HEAD.format(operators=operators, guard=f"{upper}_H", upper=upper, name=name, dtypes=dtypes)]
    parts += [_entry(name, plan) for plan in plans]
    return "".join(parts) + _TAIL


def layout(plan: OperatorPlan) -> str:
    """Eight digits: how an operator's problem and tensors lie in memory, and what a dtype's number is.

    Entries carry it as the version of their symbols: a program that was built with the header of another
    layout does not start, where it would hand over structures of another size.
    """
    operator = plan.operator
    fields = [(kind, option) for kind, option, _ in option_fields(operator)]
    tensors = list(tensors_of(operator, Workload.from_key(plan.variants[0].workload.key)))
    return digest([operator.name, list(operator.dims), fields, tensors, list(DTYPES)])[:8]


def _entry(name: str, plan: OperatorPlan) -> str:
    operator, upper = plan.operator, name.upper()
    example = Workload.from_key(plan.variants[0].workload.key)
    fields = option_fields(operator)
    tensors = tensors_of(operator, example)
    lines = ["", f"/* {operator.name}: {', '.join(operator.dims)}. Kernels are there for:"]
    for one in plan.classes:
        options = [f"{k}={literal(v)}" for k, v in one.fixed.items() if v != operator.options[k]]
        lines.append(f" *   {dtype_constant(name, one.dtype)} {' '.join(options) or '(default options)'}")
    lines += [" */", "typedef struct {"]
    lines += [f"    int64_t {dim};" for dim in operator.dims]
    lines += [f"    {kind} {option}; /* default {literal(default)} */" for kind, option, default in fields]
    lines += [f"}} {name}_{operator.name}_problem;", "", "typedef struct {"]
    for tensor, (output, brought_by) in tensors.items():
        const = "" if output else "const "
        when = f" /* with {' or '.join(brought_by)}; else ignored */" if brought_by else ""
        lines.append(f"    {const}void* {tensor};{when}")
    lines += [f"}} {name}_{operator.name}_tensors;", ""]
    arguments = ", ".join(f"int64_t {dim}" for dim in operator.dims)
    lines += [
        "/* A problem of these dimensions with every option at its default. */",
        f"static inline {name}_{operator.name}_problem {name}_{operator.name}_of({arguments}) {{",
        f"    {name}_{operator.name}_problem problem;",
        *(f"    problem.{dim} = {dim};" for dim in operator.dims),
        *(f"    problem.{option} = {literal(default)};" for _, option, default in fields),
        "    return problem;",
        "}",
        "",
        f"{upper}_API int {name}_{operator.name}({name}_dtype dtype,",
        f"    const {name}_{operator.name}_problem* problem, const {name}_{operator.name}_tensors* tensors);",
        "",
        "/* Which kernel serves such a problem here, with its configuration; NULL where none does. */",
        f"{upper}_API const char* {name}_{operator.name}_kernel({name}_dtype dtype,",
        f"    const {name}_{operator.name}_problem* problem);",
        "",
    ]
    return "\n".join(lines)
