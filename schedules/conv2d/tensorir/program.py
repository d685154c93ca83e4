"""conv2d as TensorIR blocks, unscheduled: pad, pack, convolve, write.

Output channels are computed in blocks of `kt`, whole vectors, so that every layout and any number of
channels is one program: `acc[n, group, block, p, q, channel]` sums up over packed weights
`packed[group, block, tap..., channel]`, and only `write` knows where a result lies in Y.
"""

from tuner.core.activations import activation_of
from tuner.core.integers import ceildiv
from tuner.core.workload import Workload
from tuner.schedules.conv2d.options import padding_of
from tuner.schedules.conv2d.tensorir.activation import activated


def output_pixels(workload: Workload) -> tuple[int, int]:
    """Rows and columns of Y."""
    stride, dilation = int(workload.option("stride", 1)), int(workload.option("dilation", 1))
    p, q = (
        (padded - dilation * (workload[taps] - 1) - 1) // stride + 1
        for padded, taps in zip(padded_pixels(workload), "rs", strict=True)
    )
    return p, q


def padded_pixels(workload: Workload) -> tuple[int, int]:
    """Rows and columns of X with its padding."""
    high, wide = (workload[size] + sum(zeros) for size, zeros in zip("hw", padding_of(workload), strict=True))
    return high, wide


def source(workload: Workload, kt: int) -> str:
    """TVMScript of a workload with blocks of `kt` output channels; the blocks are named as above.

    There is no block `pad` where there is no padding.
    """
    n, c, h, w, k, r, s = (size for _, size in workload)
    stride, dilation, groups = (int(workload.option(name, 1)) for name in ("stride", "dilation", "groups"))
    (top, bottom), (left, right) = padding_of(workload)
    pad = top + bottom + left + right
    nhwc = workload.option("nhwc", False)
    p, q = output_pixels(workload)
    inner, outer = c // groups, k // groups
    blocks = ceildiv(outer, kt)
    high, wide = padded_pixels(workload)

    def order(*nchw: object) -> str:
        a, b, y, x = nchw
        return f"{a}, {y}, {x}, {b}" if nhwc else f"{a}, {b}, {y}, {x}"

    # NumPy aligns to 16 bytes and views to 4: no vector load may assume more.
    tensors = [f'X: T.Buffer(({order(n, c, h, w)}), "float32", align=4)',
               f'W: T.Buffer(({order(k, inner, r, s)}), "float32", align=4)']  # fmt: skip
    if workload.option("bias", False):
        tensors.append(f'bias: T.Buffer(({k},), "float32", align=4)')
    if workload.option("residual", False):
        tensors.append(f'residual: T.Buffer(({order(n, k, p, q)}), "float32", align=4)')
    tensors.append(f'Y: T.Buffer(({order(n, k, p, q)}), "float32", align=4)')
    image = "padded" if pad else "X"
    filter_index = f"vg * {outer} + vb * {kt} + vk"
    value = "acc[vn, vg, vb, vp, vq, vk]"
    if workload.option("bias", False):
        value += f" + bias[{filter_index}]"
    if workload.option("residual", False):
        value += f" + residual[{order('vn', filter_index, 'vp', 'vq')}]"
    value = activated(activation_of(workload), value)
    whole = outer % kt == 0
    weight = f"W[{order(filter_index, 'vc', 'vr', 'vs')}]"
    if not whole:
        weight = f"T.if_then_else(vb * {kt} + vk < {outer}, {weight}, T.float32(0))"
    # An `if` of the block's own: a predicate on its loops would cut the tile that is computed for it.
    store = f"Y[{order('vn', filter_index, 'vp', 'vq')}] = {value}"
    if not whole:
        store = f"if vb * {kt} + vk < {outer}:\n                    {store}"
    padding = f"""
        for n, c, y, x in T.grid({n}, {c}, {high}, {wide}):
            with T.sblock("pad"):
                vn, vc, vy, vx = T.axis.remap("SSSS", [n, c, y, x])
                padded[{order("vn", "vc", "vy", "vx")}] = T.if_then_else(
                    vy >= {top} and vy < {h + top} and vx >= {left} and vx < {w + left},
                    X[{order("vn", "vc", f"vy - {top}", f"vx - {left}")}], T.float32(0))"""
    pads = padding if pad else ""
    alloc = f"padded = T.sblock_alloc_buffer(({order(n, c, high, wide)}))" if pad else "pass"
    row, column = f"vp * {stride} + vr * {dilation}", f"vq * {stride} + vs * {dilation}"
    pixel = order("vn", f"vg * {inner} + vc", row, column)
    return f"""
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main({", ".join(tensors)}):
        T.func_attr({{"tirx.noalias": True}})
        {alloc}
        packed = T.sblock_alloc_buffer(({groups}, {blocks}, {inner}, {r}, {s}, {kt}))
        acc = T.sblock_alloc_buffer(({n}, {groups}, {blocks}, {p}, {q}, {kt}), scope="local")
        {pads}
        for g, b, c, r, s, k in T.grid({groups}, {blocks}, {inner}, {r}, {s}, {kt}):
            with T.sblock("pack"):
                vg, vb, vc, vr, vs, vk = T.axis.remap("SSSSSS", [g, b, c, r, s, k])
                packed[vg, vb, vc, vr, vs, vk] = {weight}
        for n, g, b, p, q, k, c, r, s in T.grid({n}, {groups}, {blocks}, {p}, {q}, {kt}, {inner}, {r}, {s}):
            with T.sblock("convolve"):
                vn, vg, vb, vp, vq, vk, vc, vr, vs = T.axis.remap("SSSSSSRRR", [n, g, b, p, q, k, c, r, s])
                with T.init():
                    acc[vn, vg, vb, vp, vq, vk] = T.float32(0)
                acc[vn, vg, vb, vp, vq, vk] = acc[vn, vg, vb, vp, vq, vk] + (
                    {image}[{pixel}] * packed[vg, vb, vc, vr, vs, vk])
        for n, g, b, p, q, k in T.grid({n}, {groups}, {blocks}, {p}, {q}, {kt}):
            with T.sblock("write"):
                vn, vg, vb, vp, vq, vk = T.axis.remap("SSSSSS", [n, g, b, p, q, k])
                {store}
"""
