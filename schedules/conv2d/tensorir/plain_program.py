"""conv2d as TensorIR by its definition, unscheduled: padding, a sum over channels and taps, an epilogue."""

from tuner.core.activations import activation_of
from tuner.core.workload import Workload
from tuner.schedules.conv2d.options import padding_of
from tuner.schedules.conv2d.tensorir.activation import activated
from tuner.schedules.conv2d.tensorir.program import output_pixels, padded_pixels


def tensors(workload: Workload) -> tuple[str, ...]:
    """The parameters that a workload has, in order."""
    return ("X", "W", *(name for name in ("bias", "residual") if workload.option(name, False)), "Y")


def source(workload: Workload) -> str:
    """TVMScript of a workload; blocks `pad` (if any), `convolve`, and `epilogue` (where there is one)."""
    n, c, h, w, k, r, s = (size for _, size in workload)
    stride, dilation, groups = (int(workload.option(name, 1)) for name in ("stride", "dilation", "groups"))
    (top, bottom), (left, right) = padding_of(workload)
    pad = top + bottom + left + right
    nhwc = workload.option("nhwc", False)
    bias, residual = workload.option("bias", False), workload.option("residual", False)
    activation = activation_of(workload)
    more = bias or residual or bool(activation)
    high, wide = padded_pixels(workload)
    p, q = output_pixels(workload)
    inner, outer = c // groups, k // groups

    def order(*nchw: object) -> str:
        a, b, y, x = nchw
        return f"{a}, {y}, {x}, {b}" if nhwc else f"{a}, {b}, {y}, {x}"

    shapes = {"X": order(n, c, h, w), "W": order(k, inner, r, s), "bias": f"{k},"}
    shapes["residual"] = shapes["Y"] = order(n, k, p, q)
    # NumPy aligns to 16 bytes and views to 4: no vector load may assume more.
    parameters = ", ".join(f'{t}: T.Buffer(({shapes[t]}), "float32", align=4)' for t in tensors(workload))
    channel = "vc" if groups == 1 else f"vk // {outer} * {inner} + vc"
    row, column = f"vp * {stride} + vr * {dilation}", f"vq * {stride} + vs * {dilation}"
    image = "padded" if pad else "X"
    pixel, weight = order("vn", channel, row, column), order("vk", "vc", "vr", "vs")
    grid, loops, axes = order(n, k, p, q), order("n", "k", "p", "q"), order("vn", "vk", "vp", "vq")
    total = "total" if more else "Y"
    allocated = []
    if pad:
        allocated.append(f"padded = T.sblock_alloc_buffer(({order(n, c, high, wide)}))")
    if more:
        allocated.append(f"total = T.sblock_alloc_buffer(({shapes['Y']}))")
    padding = f"""
        for {order("n", "c", "y", "x")} in T.grid({order(n, c, high, wide)}):
            with T.sblock("pad"):
                {order("vn", "vc", "vy", "vx")} = T.axis.remap("SSSS", [{order("n", "c", "y", "x")}])
                padded[{order("vn", "vc", "vy", "vx")}] = T.if_then_else(
                    vy >= {top} and vy < {h + top} and vx >= {left} and vx < {w + left},
                    X[{order("vn", "vc", f"vy - {top}", f"vx - {left}")}], T.float32(0))"""
    value = f"total[{axes}]" + (" + bias[vk]" if bias else "") + (f" + residual[{axes}]" if residual else "")
    value = activated(activation, value)
    epilogue = f"""\
        for {loops} in T.grid({grid}):
            with T.sblock("epilogue"):
                {axes} = T.axis.remap("SSSS", [{loops}])
                Y[{axes}] = {value}"""
    newline = "\n        "
    return f"""
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main({parameters}):
        T.func_attr({{"global_symbol": "main", "tirx.noalias": True}})
        {newline.join(allocated) or "pass"}{padding if pad else ""}
        for {loops}, c, r, s in T.grid({grid}, {inner}, {r}, {s}):
            with T.sblock("convolve"):
                {axes}, vc, vr, vs = T.axis.remap("SSSSRRR", [{loops}, c, r, s])
                with T.init():
                    {total}[{axes}] = T.float32(0)
                {total}[{axes}] = {total}[{axes}] + {image}[{pixel}] * W[{weight}]
{epilogue if more else ""}
"""
