"""The schedule that maps the TensorIR GEMM's blocks to a GPU's threads."""

from collections.abc import Mapping
from typing import Any

from tuner.schedules.gemm.tensorir_cuda import wmma
from tuner.schedules.gemm.tensorir_cuda.program import Program, fetch


def module(options: Mapping[str, Any]) -> Any:
    """The scheduled module (`tvm.IRModule`) of `sizes` and `config`: what the builder calls."""
    return scheduled(Program(options["sizes"], options["config"]))


def scheduled(program: Program) -> Any:
    """The scheduled module (`tvm.IRModule`) of a program."""
    import tvm
    import tvm.script.parser
    from tvm.script import from_source

    made = tvm.s_tir.Schedule(from_source(program.script))
    if program.TENSOR:
        wmma.schedule(made, program)
    else:
        _schedule_threads(made, program)
    return made.mod


def _schedule_threads(made: Any, program: Program) -> None:
    total = made.get_sblock("sum")
    b, r, c, p = made.get_loops(total)
    lanes_m, lanes_n = program.BM // program.TM, program.BN // program.TN
    virtual_m, virtual_n = program.VM, program.VN
    tile_r, far_r, lane_r, row = made.split(r, [None, virtual_m, lanes_m, program.TM // virtual_m])
    tile_c, far_c, lane_c, col = made.split(c, [None, virtual_n, lanes_n, program.TN // virtual_n])
    outer, inner = made.split(p, [None, program.BK])
    made.reorder(b, tile_r, tile_c, far_r, far_c, lane_r, lane_c, outer, inner, row, col)
    made.bind(b, "blockIdx.z")
    made.bind(made.fuse(tile_r, tile_c), "blockIdx.x")
    for loop, name in ((far_r, "vthread.y"), (far_c, "vthread.x")):
        made.bind(loop, name)
    lane = made.fuse(lane_r, lane_c)
    made.bind(lane, "threadIdx.x")
    made.reverse_compute_at(made.get_sblock("store"), lane, preserve_unit_loops=True)
    fetch(made, program, outer, [("threadIdx.x", program.threads)])
    for operand in range(2):
        part = made.cache_read(total, operand, "local")
        made.compute_at(part, inner, preserve_unit_loops=True)
    init = made.decompose_reduction(total, outer)
    for block in (total, init):
        for loop in made.get_loops(block)[-2:]:
            made.unroll(loop)
    if program.UNROLL > 1:
        steps = made.split(inner, [None, program.UNROLL])
        made.unroll(steps[1])
