"""The sizes of a convolution as the matrices of an implicit GEMM, for the GPU kernels in this folder."""

from dataclasses import dataclass

from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.conv2d.options import padding_of
from tuner.schedules.scheduled import too_large


@dataclass(frozen=True)
class Shape:
    """A workload's sizes by name.

    Attributes:
        n, h, w: images and their pixels.
        r, s: taps of a filter.
        p, q: output pixels down and across.
        groups, inner, outer: groups, and the channels of X and of Y in one of them.
        stride, dilation, top, left: geometry; pixels of padding above and left of the image.
        nhwc: whether channels lie next to each other.
    """

    n: int
    h: int
    w: int
    r: int
    s: int
    p: int
    q: int
    groups: int
    inner: int
    outer: int
    stride: int
    dilation: int
    top: int
    left: int
    nhwc: bool

    @classmethod
    def of(cls, workload: Workload) -> "Shape":
        """The sizes of a workload."""
        n, c, h, w, k, r, s = (size for _, size in workload)
        stride, dilation, groups = (int(workload.option(o, 1)) for o in ("stride", "dilation", "groups"))
        (top, bottom), (left, right) = padding_of(workload)
        p = (h + top + bottom - dilation * (r - 1) - 1) // stride + 1
        q = (w + left + right - dilation * (s - 1) - 1) // stride + 1
        nhwc = bool(workload.option("nhwc", False))
        return cls(n, h, w, r, s, p, q, groups, c // groups, k // groups, stride, dilation, top, left, nhwc)

    @property
    def pixels(self) -> int:
        """Rows of the product: pixels of all output images."""
        return self.n * self.p * self.q

    @property
    def depth(self) -> int:
        """Products in one sum: channels of a group times taps."""
        return self.inner * self.r * self.s

    def unsupported(self, target: Target) -> str | None:
        """Why kernels with 32-bit indices and a grid of (tiles, shares, groups) cannot serve; else `None`."""
        largest = max(
            self.n * self.h * self.w * self.inner * self.groups,
            self.pixels * self.outer * self.groups,
            self.depth * self.outer * self.groups,
        )
        if reason := too_large(largest):
            return reason
        most = int(target.limits.get("max_grid_z", 65_535))
        return (
            f"{self.groups} groups, at most {most}: a grid's blocks along z" if self.groups > most else None
        )
