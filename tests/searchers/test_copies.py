"""Copies in a schedule are vectorized where they follow rows; nothing else is touched."""

import json

import pytest

from tuner.core.trace_space import trace_text
from tuner.searchers.metaschedule.copies import vectorize_copies

PROGRAM = """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((8, COLUMNS), "float32"), D: T.Buffer((8, COLUMNS), "float32")):
        C = T.sblock_alloc_buffer((8, COLUMNS))
        for i, j in T.grid(8, COLUMNS):
            with T.sblock("double"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = A[vi, vj] * T.float32(2)
        for i, j in T.grid(8, COLUMNS):
            with T.sblock("copy"):
                vi, vj = T.axis.remap("SS", [i, j])
                D[vi, vj] = VALUE
"""


def schedule(columns=96, value="C[vi, vj]"):
    import tvm.s_tir
    import tvm.script.parser

    text = PROGRAM.replace("COLUMNS", str(columns)).replace("VALUE", value)
    return tvm.s_tir.Schedule(tvm.script.from_source(text), debug_mask="none")


def loops(made, block):
    return [
        (int(made.get(loop).kind), int(made.get(loop).extent))
        for loop in made.get_loops(made.get_sblock(block))
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (64, [(0, 8), (2, 64)]),
        (512, [(0, 8), (0, 8), (2, 64)]),
        (96, [(0, 8), (0, 3), (2, 32)]),
        (12, [(0, 8), (0, 3), (2, 4)]),
    ],
)
def test_a_copy_is_split_into_the_widest_vectors_that_fit(columns, expected):
    made = schedule(columns)
    assert vectorize_copies(made) == 1
    assert loops(made, "copy") == expected
    assert loops(made, "double") == [(0, 8), (0, columns)], "arithmetic is the search's own business"


@pytest.mark.parametrize(
    ("columns", "value"),
    [
        (7, "C[vi, vj]"),
        (8, "C[vj, vi]"),
        (64, "C[vi, 63 - vj]"),
        (64, "C[vi, vj] + T.float32(1)"),
        (64, "T.if_then_else(vj < 60, C[vi, vj], T.float32(0))"),
    ],
)
def test_what_is_no_copy_along_rows_stays_as_it_is(columns, value):
    made = schedule(columns, value)
    before = made.mod.script()
    instructions = len(made.trace.insts)
    assert vectorize_copies(made) == 0
    assert made.mod.script() == before and len(made.trace.insts) == instructions


def test_loops_that_run_in_parallel_or_down_a_column_stay_as_they_are():
    made = schedule(64)
    (rows, columns) = made.get_loops(made.get_sblock("copy"))
    made.reorder(columns, rows)
    assert vectorize_copies(made) == 0
    made = schedule(64)
    made.parallel(made.get_loops(made.get_sblock("copy"))[-1])
    assert vectorize_copies(made) == 0


def test_a_copy_of_which_not_every_step_counts_stays_as_it_is():
    made = schedule(20)
    made.split(made.get_loops(made.get_sblock("copy"))[-1], [None, 16])
    assert "T.where" in made.mod.script()
    assert vectorize_copies(made) == 0


def test_the_trace_repeats_it():
    from tvm.s_tir.schedule import Trace

    made = schedule(512)
    vectorize_copies(made)
    again = schedule(512)
    Trace.apply_json_to_schedule(json.loads(trace_text(made.trace)), again)
    assert again.mod.script() == made.mod.script()
