"""GEMM as TensorIR by its definition, unscheduled: one block that sums up, one for the epilogue."""

from collections.abc import Mapping
from typing import Any

from tuner.core.workload import Workload
from tuner.schedules.gemm.options import OPTIONS
from tuner.schedules.traced import literal

# Types of the operands, of sums, and of C, bias and D.
_TYPES = {"f32": ("float32", "float32", "float32"), "f16": ("float16", "float32", "float16"),
          "int8": ("int8", "int32", "int32")}  # fmt: skip
_BYTES = {"float32": 4, "float16": 2, "int8": 1, "int32": 4}


def tensors(workload: Workload) -> tuple[str, ...]:
    """The parameters that a workload has, in order."""
    c = ("C",) if workload.option("beta", 0.0) != 0 else ()
    bias = ("bias",) if workload.option("bias", False) else ()
    return ("A", "B", *c, *bias, "D")


def source(workload: Workload) -> str:
    """TVMScript of a workload; blocks `multiply` and, where there is more to do than a sum, `epilogue`."""
    o: Mapping[str, Any] = {**OPTIONS, **dict(workload.options)}
    m, n, k, batch = workload["m"], workload["n"], workload["k"], int(o["batch"])
    narrow, wide, out = _TYPES[workload.dtype]
    lead, vb = (f"{batch}, ", "vb, ") if batch > 1 else ("", "")
    shapes = {
        "A": (f"{lead}{k}, {m}" if o["trans_a"] else f"{lead}{m}, {k}", narrow),
        "B": (f"{lead}{n}, {k}" if o["trans_b"] else f"{lead}{k}, {n}", narrow),
        "C": (f"{lead}{m}, {n}", out), "bias": (f"{n},", out), "D": (f"{lead}{m}, {n}", out),
    }  # fmt: skip
    # NumPy aligns to 16 bytes and views to one element: no vector load may assume more.
    parameters = ", ".join(
        f'{name}: T.Buffer(({shapes[name][0]}), "{shapes[name][1]}", align={_BYTES[shapes[name][1]]})'
        for name in tensors(workload)
    )
    a = f"A[{vb}vk, vi]" if o["trans_a"] else f"A[{vb}vi, vk]"
    b = f"B[{vb}vj, vk]" if o["trans_b"] else f"B[{vb}vk, vj]"
    if narrow != wide:
        a, b = f'T.Cast("{wide}", {a})', f'T.Cast("{wide}", {b})'
    grid, axes, kinds = f"{m}, {n}", "i, j", "SS"
    if batch > 1:
        grid, axes, kinds = f"{batch}, {grid}", f"b, {axes}", f"S{kinds}"
    variables = ", ".join(f"v{axis}" for axis in axes.split(", "))
    value = _epilogue(o, f"total[{variables}]", vb, wide, out)
    total = "D" if value is None else "total"
    store = "" if value is None else f"""
        for {axes} in T.grid({grid}):
            with T.sblock("epilogue"):
                {variables} = T.axis.remap("{kinds}", [{axes}])
                D[{variables}] = {value}"""  # fmt: skip
    allocate = "pass" if value is None else f'total = T.sblock_alloc_buffer(({grid}), "{wide}")'
    return f"""
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main({parameters}):
        T.func_attr({{"global_symbol": "main", "tirx.noalias": True}})
        {allocate}
        for {axes}, k in T.grid({grid}, {k}):
            with T.sblock("multiply"):
                {variables}, vk = T.axis.remap("{kinds}R", [{axes}, k])
                with T.init():
                    {total}[{variables}] = T.{wide}(0)
                {total}[{variables}] = {total}[{variables}] + {a} * {b}{store}
"""


def _epilogue(o: Mapping[str, Any], total: str, vb: str, wide: str, out: str) -> str | None:
    """The value of D; `None` where it is the sum itself."""
    plain = o["alpha"] == 1 and o["beta"] == 0 and not o["bias"] and not o["relu"]
    if plain and wide == out:
        return None

    def widened(text: str) -> str:
        return text if wide == out else f'T.Cast("{wide}", {text})'

    value = total if o["alpha"] == 1 else f"{literal(o['alpha'], wide)} * {total}"
    if o["beta"] != 0:
        value += f" + {literal(o['beta'], wide)} * {widened(f'C[{vb}vi, vj]')}"
    if o["bias"]:
        value += f" + {widened('bias[vj]')}"
    if o["relu"]:
        # Not T.max: of a NaN and 0 it is 0.
        zero = literal(0, wide)
        value = f"T.Select({value} < {zero}, {zero}, {value})"
    return value if wide == out else f'T.Cast("{out}", {value})'
