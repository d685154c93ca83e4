"""TensorIR conv2d: a register tile of pixels x output channels, packed weights, fused padding and stores."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tuner.core.space import Config, Constraint, Parameter, SearchSpace
from tuner.core.target import Target
from tuner.core.workload import Option, Workload
from tuner.schedules.conv2d.options import EPILOGUE, OPTIONS
from tuner.schedules.conv2d.tensorir.program import output_pixels, padded_pixels, source
from tuner.schedules.library import target_threads
from tuner.schedules.scheduled import ScheduledKernel, too_large


class DirectTensorIR(ScheduledKernel):
    """A schedule of the blocks of `program`.

    The register tile is `PT` pixels of one output row, a divisor of its length, times `KT` channels. Blocks
    of channels and rows of pixels run in the order `ORDER`, in parallel over the images and the first of
    the two (`PARALLEL` outer), or over both. Padding and packing are done ahead of everything else, by all
    threads, or where they are used: the image's elements tested as they are read (`PAD` inline), the
    weights packed when their block begins (`PACK` block). The epilogue is part of the store.
    """

    name = "conv_tir"
    operator = "conv2d"
    summary = "TensorIR: register tile of pixels x channels, packed weights, fused padding and epilogue."
    dtypes = ("f32",)
    options: ClassVar[Mapping[str, Option]] = {**OPTIONS, **EPILOGUE}

    def unsupported(self, workload: Workload, target: Target) -> str | None:
        """Also depthwise convolutions, and where an index would not fit into 32 bits."""
        reason = super().unsupported(workload, target)
        if reason is None and workload.option("groups", 1) == workload["k"] > 1:
            return "a depthwise convolution has no output channels to lay a vector along"
        p, q = output_pixels(workload)
        high, wide = padded_pixels(workload)
        image = workload["n"] * workload["c"] * high * wide
        return reason or too_large(max(image, workload["n"] * workload["k"] * p * q))

    def space(self, workload: Workload, target: Target) -> SearchSpace:
        """Nine choices; see the parameters' texts."""
        constants = self.constants(workload, target)
        constants.setdefault("vector_bytes", 16)
        constants.setdefault("vector_registers", 16)
        _, q = output_pixels(workload)
        return SearchSpace(
            [
                Parameter("PT", tuple(d for d in range(1, 15) if q % d == 0), "pixels of the register tile"),
                Parameter("KT", (4, 8, 16, 24, 32, 48, 64), "its output channels: whole vectors"),
                Parameter("CT", (1, 2, 4, 8, 16, 32), "channels of an inner loop over the taps"),
                Parameter(
                    "TAPS", ("crs", "rsc", "rcs"), "order of the loops over a block of channels and taps"
                ),
                Parameter("UNROLL", (False, True), "unroll the innermost loop over taps or channels"),
                Parameter(
                    "ORDER", ("kp", "pk"), "blocks of output channels outside of rows of pixels, or inside"
                ),
                Parameter("PARALLEL", ("outer", "both"), "loops whose iterations are shared among threads"),
                Parameter("PAD", ("ahead", "inline"), "where the image is padded"),
                Parameter("PACK", ("ahead", "block"), "where the weights are packed"),
            ],
            [
                Constraint("whole_vectors", "KT * 4 % vector_bytes == 0"),
                # Sums, a row of weights and one pixel.
                Constraint("registers", "(PT + 1) * (KT * 4 // vector_bytes) + 1 <= vector_registers"),
                Constraint("channels_used", "KT < 2 * (k // groups) or KT * 4 == vector_bytes"),
                Constraint("channels_divide", "c // groups % CT == 0"),
                Constraint(
                    "unrolled_body", "not UNROLL or PT * (KT * 4 // vector_bytes) * max(s, CT) <= 256"
                ),
                Constraint(
                    "something_to_pad",
                    "PAD == 'ahead' or pad + pad_top + pad_left + pad_bottom + pad_right > 0",
                ),
                Constraint("taps_to_order", "TAPS == 'crs' or r * s > 1"),
                # A block of weights begins once for each of its rows otherwise.
                Constraint("packed_once", "PACK == 'ahead' or (ORDER == 'kp' and PARALLEL == 'outer')"),
            ],
            constants,
        )

    def schedule(self, workload: Workload, config: Config, target: Target) -> Any:
        """The `tvm.s_tir.Schedule` of a configuration."""
        import tvm
        import tvm.s_tir

        c: dict[str, Any] = dict(config)
        lanes = int(target.limits.get("vector_bytes", 16)) // 4
        module = tvm.script.from_source(source(workload, c["KT"]))
        schedule = tvm.s_tir.Schedule(module, debug_mask="none")
        threads = target_threads(target)
        write, convolve = schedule.get_sblock("write"), schedule.get_sblock("convolve")
        pack = schedule.get_sblock("pack")

        n, g, block, p, q, k = schedule.get_loops(write)
        tile, pixel = schedule.split(q, [None, c["PT"]])
        first, second = (block, p) if c["ORDER"] == "kp" else (p, block)
        schedule.reorder(n, g, first, second, tile, pixel, k)
        # With loops of length 1, so that their number does not depend on the shape.
        schedule.compute_at(convolve, tile, preserve_unit_loops=True)
        if c["PACK"] == "block":
            schedule.compute_at(pack, block)
        else:
            self._ahead(schedule, pack, threads)
        if padded_pixels(workload) != (workload["h"], workload["w"]):
            pad = schedule.get_sblock("pad")
            if c["PAD"] == "inline":
                schedule.compute_inline(pad)
            else:
                self._ahead(schedule, pad, threads)
        if threads > 1:
            together = [n, g, first, second] if c["PARALLEL"] == "both" else [n, g, first]
            schedule.parallel(schedule.fuse(*together))
        self._registers(schedule, convolve, c, lanes)
        self._store(schedule, pixel, k, workload, lanes)
        loop = schedule.get_loops(pack)[-1]
        _, lane = schedule.split(loop, [None, lanes])
        if workload["k"] // int(workload.option("groups", 1)) % c["KT"] == 0:
            schedule.vectorize(lane)
        return schedule

    @staticmethod
    def _ahead(schedule: Any, block: Any, threads: int) -> None:
        loops = schedule.get_loops(block)
        if threads > 1:
            schedule.parallel(schedule.fuse(*loops[:2]))

    @staticmethod
    def _registers(schedule: Any, convolve: Any, c: dict[str, Any], lanes: int) -> None:
        """The reduction around an unrolled register tile, its zeros before it."""
        # Behind the loops of `write` come those of the tile: pixels, channels, and the reduction.
        *_, pixel, channel, depth, row, column = schedule.get_loops(convolve)
        outer, inner = schedule.split(depth, [None, c["CT"]])
        loops = {"c": inner, "r": row, "s": column}
        taps = [loops[name] for name in c["TAPS"]]
        vector, lane = schedule.split(channel, [None, lanes])
        schedule.reorder(outer, *taps, pixel, vector, lane)
        for loop in (pixel, vector):
            schedule.unroll(loop)
        schedule.vectorize(lane)
        if c["UNROLL"]:
            schedule.unroll(taps[-1])
        schedule.decompose_reduction(convolve, outer)

    @staticmethod
    def _store(schedule: Any, pixel: Any, channel: Any, workload: Workload, lanes: int) -> None:
        """Vectors where channels lie side by side in Y; else the pixels of one channel after the other."""
        vector, lane = schedule.split(channel, [None, lanes])
        if workload.option("nhwc", False):
            schedule.unroll(pixel)
            schedule.unroll(vector)
            schedule.vectorize(lane)
        else:
            # Unrolled: sums stay in registers only if every index into them is a constant.
            schedule.reorder(vector, lane, pixel)
            for loop in (vector, lane, pixel):
                schedule.unroll(loop)
