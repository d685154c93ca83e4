"""The TensorIR convolution for CUDA: the GEMM's blocks, with tiles gathered from images.

Rows of the product are output pixels, columns the output channels of a group, and its batch the groups. The
depth runs over channels and taps in the order in which a filter lies in memory. What lies in the padding is
fetched as zero, as what lies outside of the matrices. Tensors are flat, so that indices are the sums that
they are in memory.
"""

from functools import cached_property

from tuner.schedules.conv2d.shapes import Shape
from tuner.schedules.conv2d.tensorir.activation import activated
from tuner.schedules.gemm.tensorir_cuda.program import Program

_TYPES = {"f32": ("float32", "float32", "float32"), "f16": ("float16", "float32", "float16"),
          "bf16": ("bfloat16", "float32", "bfloat16"), "int8": ("int8", "int32", "int32")}  # fmt: skip


class ConvProgram(Program):
    """A workload and a configuration as the GEMM's `Program`, whose `sizes` have more.

    `shape`; `residual`, whether there is one; `activation`, a name or empty; `scale`, 0 for none, 1 for one
    of the tensor, 2 for one a channel.
    """

    @property
    def _shape(self) -> Shape:
        return Shape(**self.sizes["shape"])

    def vector(self, operand: str) -> int:
        """Elements of one load; pixels are neighbours in memory only where windows are (see `a_row`)."""
        return 1 if operand == "A" and a_row(self._shape) % self.VECTOR else int(self.VECTOR)

    def _below(self, index: str, size: int, vector: int) -> str:
        # In this form the condition is the same for all elements of a vector, and vector loads remain.
        return f"{index} // {vector} < {size // vector}" if size % vector == 0 else f"{index} < {size}"

    @cached_property
    def _gather(self) -> str:
        """The block that brings a tile of windows."""
        s, vector = self._shape, self.vector("A")
        deep = self.tiles[2] * self.BK
        rows = self.tiles[0] * self.BM
        taps, pixels = s.r * s.s, s.p * s.q
        # Of a vector along channels all elements are of one tap.
        tap = f"(vp // {vector} // {s.inner // vector})" if s.nhwc else f"(vp % {taps})"
        channel = f"(vp % {s.inner})" if s.nhwc else f"(vp // {taps})"
        image, pixel = f"(vr // {pixels})", f"(vr % {pixels})"
        y = f"({pixel} // {s.q} * {s.stride} + {tap} // {s.s} * {s.dilation} - {s.top})"
        x = f"({pixel} % {s.q} * {s.stride} + {tap} % {s.s} * {s.dilation} - {s.left})"
        channels, inside = s.inner * s.groups, [self._below("vp", s.depth, vector if s.nhwc else 1)]
        inside.append(self._below("vr", s.pixels, 1 if s.nhwc else vector))
        if s.nhwc:
            place = f"(({image} * {s.h} + {y}) * {s.w} + {x}) * {channels} + vb * {s.inner} + {channel}"
        else:
            place = f"({image} * {channels} + vb * {s.inner} + {channel}) * {s.h * s.w}"
            # Windows of one pixel, side by side: the pixel's own number says where, and vectors remain.
            place += f" + {pixel}" if pointwise(s) else f" + {y} * {s.w} + {x}"
        if not pointwise(s):
            inside += [f"0 <= {y}", f"{y} < {s.h}", f"0 <= {x}", f"{x} < {s.w}"]
        order = ["r", "p"] if s.nhwc else ["p", "r"]
        extent = {"r": rows, "p": deep}
        narrow = _TYPES[self.dtype][0]
        return f"""
        for b, {order[0]}, {order[1]} in T.grid({self.batch}, {extent[order[0]]}, {extent[order[1]]}):
            with T.sblock("A_tile"):
                vb, v{order[0]}, v{order[1]} = T.axis.remap("SSS", [b, {order[0]}, {order[1]}])
                A_t[vb, v{order[0]}, v{order[1]}] = T.if_then_else(
                    {" and ".join(inside)}, X[{place}], T.{narrow}(0))"""

    @cached_property
    def _filters(self) -> str:
        """The block that brings a tile of filters."""
        s, vector = self._shape, self.vector("B")
        inside = f"{self._below('vp', s.depth, vector)} and vc < {s.outer}"
        return f"""
        for b, c, p in T.grid({self.batch}, {self.tiles[1] * self.BN}, {self.tiles[2] * self.BK}):
            with T.sblock("B_tile"):
                vb, vc, vp = T.axis.remap("SSS", [b, c, p])
                B_t[vb, vc, vp] = T.if_then_else(
                    {inside}, W[(vb * {s.outer} + vc) * {s.depth} + vp], T.{_TYPES[self.dtype][0]}(0))"""

    def _result(self, row: str, col: str, total: str) -> str:
        """The statement that stores one element."""
        s, wide = self._shape, _TYPES[self.dtype][1]
        channels, pixels = s.outer * s.groups, s.p * s.q
        channel = f"vb * {s.outer} + {col}"
        place = f"({row}) * {channels} + {channel}"
        if not s.nhwc:
            place = f"(({row}) // {pixels} * {channels} + {channel}) * {pixels} + ({row}) % {pixels}"
        value = total
        if self.bias:
            value = f"({value} + T.Cast('{wide}', bias[{channel}]))"
        if self.residual:
            value = f"({value} + T.Cast('{wide}', residual[{place}]))"
        value = activated(self.activation, value, wide)
        if not self.scale:
            return f"Y[{place}] = T.Cast('{_TYPES[self.dtype][2]}', {value})"
        value = f"T.Cast('float32', {value}) * scale[{channel if self.scale == 2 else 0}]"
        # Clamped before it is rounded, which is the same for integer bounds.
        value = f"T.max(T.min({value}, T.float32(127)), T.float32(-128))"
        return f"Y[{place}] = T.Cast('int8', T.nearbyint({value}))"

    @cached_property
    def script(self) -> str:
        """The program before scheduling, as TVMScript."""
        s = self._shape
        narrow, wide, out = _TYPES[self.dtype]
        tiles_m, tiles_n, tiles_k = self.tiles
        rows, cols, deep = tiles_m * self.BM, tiles_n * self.BN, tiles_k * self.BK
        channels = s.outer * s.groups
        tensors = {"X": (s.n * s.h * s.w * s.inner * s.groups, narrow), "W": (channels * s.depth, narrow)}
        if self.bias:
            tensors["bias"] = (channels, out)
        if self.residual:
            tensors["residual"] = (s.pixels * channels, out)
        if self.scale:
            tensors["scale"] = (channels if self.scale == 2 else 1, "float32")
        tensors["Y"] = (s.pixels * channels, "int8" if self.scale else out)
        arguments = ", ".join(f'{n}: T.Buffer(({size},), "{kind}")' for n, (size, kind) in tensors.items())
        body = self._tensor_body if self.TENSOR else self._thread_body
        padded = f"{rows}, {deep}" if s.nhwc else f"{deep}, {rows}"
        return f"""
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main({arguments}):
        T.func_attr({{"global_symbol": "main", "tirx.noalias": True}})
        A_t = T.sblock_alloc_buffer(({self.batch}, {padded}), "{narrow}", scope="shared")
        B_t = T.sblock_alloc_buffer(({self.batch}, {cols}, {deep}), "{narrow}", scope="shared")
{self._gather}
{self._filters}
{body(wide, "vb, vr, vp" if s.nhwc else "vb, vp, vr", "vb, vc, vp")}
"""


def pointwise(shape: Shape) -> bool:
    """Whether windows are single pixels, one after the other: then the image is a matrix as it is."""
    s = shape
    return (s.r, s.s, s.stride, s.top, s.left, s.p, s.q) == (1, 1, 1, 0, 0, s.h, s.w)


def a_row(shape: Shape) -> int:
    """Neighbours along which windows are neighbours in memory too: channels, or pixels of a pointwise one."""
    if shape.nhwc:
        return shape.inner
    return shape.h * shape.w if pointwise(shape) else 1
