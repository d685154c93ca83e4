"""Attention as TensorIR by its definition, unscheduled: scores, softmax, the weighted sum, one block each."""

from tuner.core.workload import Workload
from tuner.schedules.attention.options import heads_of, masked, scale_of

TENSORS = ("Q", "K", "V", "O")
# Below any score that a query sees, however negative.
_HIDDEN = "T.float32('-inf')"


def source(workload: Workload, divide_last: bool = False) -> str:
    """TVMScript of a workload whose keys do not lie in pages.

    Blocks: `score`, `mask` (and the scale), `largest`, `weight`, `sum`, `share`, `attend`; or `attend` before
    its division by the sum, `divide`.

    Args:
        workload: attention.
        divide_last: the sums of V are divided, not the weights. MetaSchedule's rules for CPUs fail on a block
            that divides after the last sum, because its divisor is made elsewhere; those for GPUs fail
            ("Index 6 out of bounds 6") where the divided weights are what the last sum fetches.
    """
    b, h, q, kv, d = (size for _, size in workload)
    heads = heads_of(workload)
    shapes = {"Q": (b, h, q, d), "K": (b, heads, kv, d), "V": (b, heads, kv, d), "O": (b, h, q, d)}
    # NumPy aligns to 16 bytes and views to 4: no vector load may assume more.
    parameters = ", ".join(f'{t}: T.Buffer({shapes[t]}, "float32", align=4)' for t in TENSORS)
    group = "vh" if heads == h else f"vh // {h // heads}"

    query, key = "Q[vb, vh, vi, vd]", f"K[vb, {group}, vj, vd]"
    value = f"V[vb, {group}, vj, vd]"
    scaled = f"raw[vb, vh, vi, vj] * T.float32({scale_of(workload)!r})"
    if masked(workload):
        scaled = f"T.if_then_else(vj <= vi + {kv - q}, {scaled}, {_HIDDEN})"
    product = f"{'weights' if divide_last else 'shares'}[vb, vh, vi, vj] * {value}"
    if masked(workload):
        # Selected, not multiplied by a weight of 0: 0 times a NaN is a NaN.
        product = f"T.Select(vj <= vi + {kv - q}, {product}, T.float32(0))"
    matrix, rows = f"({b}, {h}, {q}, {kv})", f"({b}, {h}, {q})"
    if divide_last:
        extra = f"sums = T.sblock_alloc_buffer(({b}, {h}, {q}, {d}))"
        divided = ""
        attended = "sums[vb, vh, vi, vd]"
        end = _ratio_block("divide", "d", (b, h, q, d), "O", "sums")
    else:
        extra = f"shares = T.sblock_alloc_buffer({matrix})"
        divided = _ratio_block("share", "j", (b, h, q, kv), "shares", "weights")
        attended = "O[vb, vh, vi, vd]"
        end = ""
    return f"""
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main({parameters}):
        T.func_attr({{"global_symbol": "main", "tirx.noalias": True}})
        raw = T.sblock_alloc_buffer({matrix})
        scores = T.sblock_alloc_buffer({matrix})
        top = T.sblock_alloc_buffer({rows})
        weights = T.sblock_alloc_buffer({matrix})
        norm = T.sblock_alloc_buffer({rows})
        {extra}
        for b, h, i, j, d in T.grid({b}, {h}, {q}, {kv}, {d}):
            with T.sblock("score"):
                vb, vh, vi, vj, vd = T.axis.remap("SSSSR", [b, h, i, j, d])
                with T.init():
                    raw[vb, vh, vi, vj] = T.float32(0)
                raw[vb, vh, vi, vj] = raw[vb, vh, vi, vj] + {query} * {key}
        for b, h, i, j in T.grid({b}, {h}, {q}, {kv}):
            with T.sblock("mask"):
                vb, vh, vi, vj = T.axis.remap("SSSS", [b, h, i, j])
                scores[vb, vh, vi, vj] = {scaled}
        for b, h, i, j in T.grid({b}, {h}, {q}, {kv}):
            with T.sblock("largest"):
                vb, vh, vi, vj = T.axis.remap("SSSR", [b, h, i, j])
                with T.init():
                    top[vb, vh, vi] = T.float32(-3e38)
                top[vb, vh, vi] = T.max(top[vb, vh, vi], scores[vb, vh, vi, vj])
        for b, h, i, j in T.grid({b}, {h}, {q}, {kv}):
            with T.sblock("weight"):
                vb, vh, vi, vj = T.axis.remap("SSSS", [b, h, i, j])
                weights[vb, vh, vi, vj] = T.exp(scores[vb, vh, vi, vj] - top[vb, vh, vi])
        for b, h, i, j in T.grid({b}, {h}, {q}, {kv}):
            with T.sblock("sum"):
                vb, vh, vi, vj = T.axis.remap("SSSR", [b, h, i, j])
                with T.init():
                    norm[vb, vh, vi] = T.float32(0)
                norm[vb, vh, vi] = norm[vb, vh, vi] + weights[vb, vh, vi, vj]
{divided}        for b, h, i, d, j in T.grid({b}, {h}, {q}, {d}, {kv}):
            with T.sblock("attend"):
                vb, vh, vi, vd, vj = T.axis.remap("SSSSR", [b, h, i, d, j])
                with T.init():
                    {attended} = T.float32(0)
                {attended} = {attended} + {product}
{end}"""


def _ratio_block(name: str, axis: str, extents: tuple[int, ...], result: str, dividend: str) -> str:
    """A nest that divides by the sum of the weights, along the axes b, h, i and one more."""
    place = f"vb, vh, vi, v{axis}"
    return f"""\
        for b, h, i, {axis} in T.grid({", ".join(map(str, extents))}):
            with T.sblock("{name}"):
                {place} = T.axis.remap("SSSS", [b, h, i, {axis}])
                {result}[{place}] = {dividend}[{place}] / norm[vb, vh, vi]
"""
