"""How a product in TensorIR for GPUs is tiled: among threads, or among warps on tensor cores.

GEMM is such a product, and so is a convolution. A kernel derives from its operator's own class first,
then from one of these.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from tuner.core.kernel import Kernel
from tuner.core.space import Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.schedules.scheduled import no_bf16


class _Tiles(Kernel):
    """Blocks of BM rows x BN columns, fetched BK deep; the subclasses share them out."""

    rows: ClassVar[str]
    """What rows are of the product, for people: "rows of D", "pixels of Y"."""
    columns: ClassVar[str]
    tensor: ClassVar[bool]

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also bf16 on a GPU that has no arithmetic for it."""
        return super().unsupported(workload, target) or no_bf16(workload, target)

    @abstractmethod
    def _fetch(self, threads: str, sums: str, staging: str) -> list[Constraint]:
        """What fetching, registers and shared memory ask for.

        Args:
            threads: of a block, an expression.
            sums: registers of a thread for sums and operands.
            staging: further elements in shared memory.
        """

    @abstractmethod
    def _space(
        self, workload: Workload, target: Target, parameters: Sequence[Parameter],
        constraints: Sequence[Constraint],
    ) -> SearchSpace:  # fmt: skip
        """The space with the operator's own parameters and constants."""


class ThreadTiles(_Tiles):
    """On CUDA cores: threads own TM x TN elements in VM x VN separate pieces (TVM's virtual threads)."""

    dtypes = ("f32", "f16", "int8", "bf16")
    tensor = False

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles of the block and the thread, the fetch, the pipeline."""
        rows, columns = self.rows, self.columns
        parameters = [
            Parameter("BK", (4, 8, 16, 32, 64), "depth of the tiles in shared memory"),
            Parameter("TM", (1, 2, 4, 8, 16), f"{rows} a thread"),
            Parameter("TN", (1, 2, 4, 8, 16), f"{columns} a thread"),
            Parameter("VM", (1, 2, 4), f"pieces of a thread's {rows}, BM / VM apart"),
            Parameter("VN", (1, 2, 4), f"pieces of a thread's {columns}, BN / VN apart"),
            Parameter("UNROLL", (1, 2, 4, 8), "steps of the depth in straight-line code"),
        ]
        constraints = [
            Constraint("pieces_divide", "TM % VM == 0 and TN % VN == 0"),
            Constraint("thread_tiles_divide", "BM % TM == 0 and BN % TN == 0"),
            Constraint("unroll_divides_depth", "BK % UNROLL == 0"),
            *self._fetch("(BM // TM) * (BN // TN)", "TM * TN + TM + TN", "0"),
        ]
        return self._space(workload, target, parameters, constraints)


class WarpTiles(_Tiles):
    """On tensor cores: warps own WM x WN elements in wmma fragments of 16 x 16."""

    dtypes = ("f16", "int8", "bf16")
    tensor = True

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also a target without the tensor-core operation."""
        reason = super().unsupported(workload, target)
        feature = "wmma_f16" if workload.dtype == "bf16" else f"wmma_{workload.dtype}"
        return reason or (None if feature in target.features else f"{target.name} lacks {feature}")

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Tiles of the block and the warp, the fetch, the pipeline."""
        parameters = [
            Parameter("BK", (16, 32, 64, 128), "depth of the tiles in shared memory"),
            Parameter("WM", (16, 32, 64, 128), f"{self.rows} a warp"),
            Parameter("WN", (16, 32, 64, 128), f"{self.columns} a warp"),
        ]
        threads = "(BM // WM) * (BN // WN) * 32"
        constraints = [
            Constraint("warp_tiles_divide", "BM % WM == 0 and BN % WN == 0"),
            # A fragment of sums passes through shared memory: 1 KiB a warp.
            *self._fetch(threads, "WM * WN // 32 + (WM + WN) // 2", f"32 * ({threads})"),
        ]
        return self._space(workload, target, parameters, constraints)
