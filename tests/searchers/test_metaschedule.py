"""MetaSchedule as a searcher: each trace once, reproducibly, learned from; its space is its own."""

import json

import pytest

from tuner import registry
from tuner.core.errors import InvalidConfig, InvalidSpace, TunerError
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import Observation, Problem
from tuner.core.space import Parameter, SearchSpace
from tuner.core.trace_space import TraceSpace, canonical_trace
from tuner.devices.cpu.device import named_targets
from tuner.engine.tuning.choice import searcher_for
from tuner.searchers.metaschedule.copies import vectorize_copies
from tuner.searchers.metaschedule.metaschedule import MetaScheduleSearcher

SPACE = registry.kernel("tir_metaschedule").space(
    registry.operator("gemm").parse("64x64x64"), named_targets()["cpu:avx2"]
)
FAILED = Measurement(Status.BUILD_ERROR, Evidence.MEASURED, error="does not compile")


def timed(config) -> Measurement:
    """Unrolled schedules are fast, others slow: something a model can learn."""
    fast = '"pragma_auto_unroll_max_step"' in config["trace"]
    return Measurement(Status.OK, Evidence.MEASURED, samples=(1e-4 if fast else 1e-3,))


def make(seed=1, budget=64) -> MetaScheduleSearcher:
    return MetaScheduleSearcher(Problem(SPACE, seed, budget, options={"population": 64}))


def rounds(searcher, count):
    """What a searcher proposes in so many batches, every fifth of which fails."""
    seen = []
    for _ in range(count):
        got = searcher.ask(4)
        assert all(config in SPACE for config in got)
        seen += [config["trace"] for config in got]
        searcher.tell([Observation(c, FAILED if len(seen) % 5 == i else timed(c)) for i, c in enumerate(got)])
    return seen


def test_proposes_distinct_traces_reproducibly_and_goes_on_after_failures():
    first, again = rounds(make(), 8), rounds(make(), 8)
    assert len(first) == len(set(first)) == 32
    assert first == again
    assert rounds(make(seed=2), 2) != first[:8]


def test_a_resumed_search_proposes_nothing_it_was_told_and_has_learned_from_it():
    told = rounds(make(), 4)
    resumed = make()
    resumed.tell([Observation({"trace": t}, timed({"trace": t})) for t in told])
    resumed.tell([Observation({"trace": "[]"}, FAILED), Observation({"trace": "[[],[]]"}, FAILED)])
    assert not set(rounds(resumed, 2)) & set(told)
    # The model counts what it was told: 16 and the unscheduled program, not what is no trace.
    assert resumed._evolution is not None
    assert len(resumed._evolution._database) >= 17


def test_results_are_copied_back_in_vectors():
    space = registry.kernel("tir_metaschedule").space(
        registry.operator("gemm").parse("32x512x32"), named_targets()["cpu:avx2"]
    )
    searcher = MetaScheduleSearcher(Problem(space, 1, 64, options={"population": 64}))
    traces = [config["trace"] for config in searcher.ask(8)]
    # What follows the last of MetaSchedule's own instructions is ours.
    cached = [t for t in traces if '"CacheWrite"' in t]
    assert any(t.rfind('"Vectorize"') > t.rfind('"DecomposeReduction"') for t in cached)
    import tvm.s_tir
    import tvm.script.parser
    from tvm.s_tir.schedule import Trace

    program = tvm.script.from_source(space.program)
    for trace in traces:
        schedule = tvm.s_tir.Schedule(program, debug_mask="none")
        Trace.apply_json_to_schedule(json.loads(trace), schedule)
        assert vectorize_copies(schedule) == 0, "no copy is left to the compiler"


def test_a_batch_never_reaches_into_a_round_that_waits_for_outcomes():
    searcher = make(budget=64)  # rounds of 8
    assert len(searcher.ask(6)) == 6
    assert len(searcher.ask(6)) == 2
    assert searcher.ask(6) != []  # the next round needs no outcomes, it is only better with them


def test_a_program_with_one_schedule_ends():
    workload = registry.operator("gemm").parse("1x1x1")
    space = registry.kernel("tir_metaschedule").space(workload, named_targets()["cpu:avx2"])
    searcher = MetaScheduleSearcher(Problem(space, 0, 64, options={"population": 64}))
    seen = []
    while got := searcher.ask(8):
        seen += [config["trace"] for config in got]
        searcher.tell([Observation(c, timed(c)) for c in got])
        assert len(seen) < 200
    assert len(seen) == len(set(seen)) >= 1


def test_it_takes_its_own_spaces_only_and_others_do_not_take_them():
    with pytest.raises(InvalidSpace, match="choose another searcher"):
        MetaScheduleSearcher(Problem(SearchSpace([Parameter("a", (1, 2))])))
    for name, kind in registry.searchers().items():
        if kind.open_space or kind.unavailable():
            continue
        with pytest.raises(InvalidSpace, match=f"only searcher metaschedule .* not {name}"):
            kind(Problem(SPACE))


def test_traces_that_are_named_need_no_search():
    traces = [{"trace": "[[],[]]"}, {"trace": "[[], [] ]"}]
    given = registry.searcher("given")(Problem(SPACE, options={"configs": traces}))
    given.tell([Observation(traces[1], timed(traces[1]))])
    assert given.ask(5) == traces[:1] and given.ask(5) == []


def test_the_right_searcher_is_chosen_by_itself():
    ours, plain = registry.kernel("tir_metaschedule"), registry.kernel("cpp_packed")
    assert searcher_for(ours, "auto") == searcher_for(ours, "metaschedule") == "metaschedule"
    assert searcher_for(plain, "random") == "random"
    with pytest.raises(TunerError, match="only searcher metaschedule can propose from it, not grid"):
        searcher_for(ours, "grid")
    with pytest.raises(TunerError, match=r"cannot propose configurations of cpp_packed.*tir_metaschedule"):
        searcher_for(plain, "metaschedule")


def test_an_open_space_lists_nothing_and_says_why():
    assert isinstance(SPACE, TraceSpace)
    assert SPACE.size is None and not SPACE.exact
    for call in (lambda: next(iter(SPACE)), lambda: SPACE.sample(None), lambda: SPACE.encode([])):
        with pytest.raises(InvalidSpace, match="only searcher metaschedule"):
            call()
    assert {"trace": "[[], []]"} in SPACE
    assert SPACE.check({"trace": "[ [],\n[] ]"}) == SPACE.default


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (3, "is a text"), ("", "not JSON"), ("{}", "is not a trace"), ("[[],[],[]]", "is not a trace"),
        ('[[["Split"]],[]]', "instruction 0"), ("[[],[[0,1]]]", "decision 0"),
        ("[[],[[true,1]]]", "decision 0"),
        ('[[["A",[],[NaN],[]]],[]]', "not JSON"), ("[" * 100_000, "JSON|deeply"),
        ("[[],[]]" + " " * 600_000, "characters"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused_in_one_line(text, why):
    with pytest.raises(InvalidConfig, match=why) as caught:
        canonical_trace(text)
    assert "\n" not in str(caught.value)
    assert {"trace": text} not in SPACE
    assert {"other": "[[],[]]"} not in SPACE
