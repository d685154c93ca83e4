"""A TensorIR GEMM over tiles: their sizes, and where a packed panel holds an element."""

from dataclasses import dataclass
from typing import Any

from tuner.core.integers import ceildiv
from tuner.core.workload import Workload
from tuner.schedules.gemm.tensorir.function import GemmFunction


@dataclass(frozen=True)
class Tiles:
    """The sizes that blocks are made of, in elements.

    Attributes:
        mr, nr: rows and columns of the register tile; `nr` is a multiple of `lanes`.
        kc: depth of a packed panel.
        unroll: steps of k in the body of the innermost loop.
        lanes: elements of a vector.
        pack_a, pack_b: whether an operand is read from a packed copy.
        a_columns: A's panels hold column after column of `mr` elements; otherwise `mr` rows of `kc`.
    """

    mr: int
    nr: int
    kc: int
    unroll: int
    lanes: int
    pack_a: bool
    pack_b: bool
    a_columns: bool

    @property
    def row_stride(self) -> int:
        """Elements from row to row of a panel of A kept in rows.

        An odd number of cache lines of 16 elements: with rows 4 KiB apart, as at kc = 1024, all 12 of them
        would lie in one set of a 12-way L1 cache.
        """
        return (ceildiv(self.kc, 16) | 1) * 16

    @property
    def a_panel(self) -> int:
        """Elements of a packed panel of A."""
        return self.mr * (self.kc if self.a_columns else self.row_stride)

    @property
    def b_panel(self) -> int:
        """Elements of a packed panel of B."""
        return self.kc * self.nr


class TiledFunction(GemmFunction):
    """What packing and multiplying share: the tiles, and the packed copies that one writes and the other
    reads.

    Attributes:
        t: sizes of the tiles.
        mt, nt, ko: tiles along m and n, panels along k.
        a_packed, b_packed: buffers of the packed operands, once the body has made them.
    """

    a_packed: Any
    b_packed: Any

    def __init__(self, workload: Workload, tiles: Tiles) -> None:
        super().__init__(workload)
        self.t = tiles
        self.mt, self.nt = ceildiv(self.m, tiles.mr), ceildiv(self.n, tiles.nr)
        self.ko = ceildiv(self.k, tiles.kc)

    def depth(self, vk: Any) -> Any:
        """Steps of k in panel `vk`: `kc`, less in the last one of a ragged k."""
        kc = self.t.kc
        return kc if self.k % kc == 0 else self.T.min(kc, self.k - vk * kc)

    def a_index(self, b: Any, vk: Any, vm: Any, kk: Any, r: Any) -> list[Any]:
        """Where the packed A has step `kk` of row `r` of a panel."""
        inner = kk * self.t.mr + r if self.t.a_columns else r * self.t.row_stride + kk
        return [b, vm, vk * self.t.a_panel + inner]

    def b_index(self, b: Any, vk: Any, vn: Any, kk: Any, j: Any) -> list[Any]:
        """Where the packed B has step `kk` of column `j` of a panel."""
        return [b, vn, vk * self.t.b_panel + kk * self.t.nr + j]
