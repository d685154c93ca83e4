"""The drop-in for `@triton.autotune`, in Triton's interpreter with a stand-in benchmarker."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tuner.cli import app
from tuner.core.errors import TunerError
from tuner.core.workload import Workload
from tuner.integrations.triton.identity import workload_of
from tuner.integrations.triton.ledger import NotKept
from tuner.integrations.triton.tuning import NoneRight, Rejected
from tuner.store.store import open_store


def add(lab, kernel, numbers, **more):
    """Adds with the kernel; the largest error of its result."""
    x, y, out = numbers
    kernel[lab.kernels.grid](x, y, out, n=len(x), **more)
    return float((out - (x + y)).abs().max())


def trials(lab):
    """Status and configuration of every stored trial, in order."""
    with open_store(lab.db) as store:
        found = [t for sweep in store.sweeps() for t in store.sweep_history(sweep.id)]
    unique = {t.id: t for t in found}
    return [(str(t.measurement.status), dict(t.key.config)) for _, t in sorted(unique.items())]


def test_the_fastest_is_launched_and_nothing_is_timed_twice(lab, numbers):
    configs = [lab.config(64), lab.config(16), lab.config(32)]
    kernel, bench = lab.tuned(configs)
    assert add(lab, kernel, numbers) == 0
    assert kernel.best_config.kwargs == {"BLOCK": 16} and len(bench.timed) == 3
    assert add(lab, kernel, numbers) == 0 and len(bench.timed) == 3
    again, other = lab.tuned(configs)
    assert add(lab, again, numbers) == 0
    assert again.best_config.kwargs == {"BLOCK": 16} and other.timed == []
    assert again.configs_timings[again.best_config][0] == pytest.approx(16)
    assert isinstance(again, lab.triton.runtime.Autotuner)


def test_a_configuration_more_is_one_timing_more(lab, numbers):
    add(lab, lab.tuned([lab.config(64), lab.config(32)])[0], numbers)
    kernel, bench = lab.tuned([lab.config(16), lab.config(64), lab.config(32)])
    add(lab, kernel, numbers)
    assert [c["BLOCK"] for c in bench.timed] == [16] and kernel.best_config.kwargs["BLOCK"] == 16
    # A shorter list has nothing to time, and what is not in it is not chosen.
    shorter, other = lab.tuned([lab.config(64), lab.config(32)])
    add(lab, shorter, numbers)
    assert other.timed == [] and shorter.best_config.kwargs["BLOCK"] == 32


def test_another_shape_dtype_or_source_is_another_tuning(lab, numbers):
    configs = [lab.config(16), lab.config(32)]
    kernel, bench = lab.tuned(configs)
    add(lab, kernel, numbers)
    add(lab, kernel, [t[:50].clone() for t in numbers])
    assert len(bench.timed) == 4
    add(lab, kernel, [t.double() for t in numbers])
    assert len(bench.timed) == 6
    twice, other = lab.tuned(configs, lab.kernels.accumulate)
    twice[lab.kernels.grid](numbers[0], numbers[2], n=100)
    assert len(other.timed) == 2
    with open_store(lab.db) as store:
        keys = [sweep.spec.workload.key for sweep in store.sweeps()]
    assert keys == [
        "triton_add/f32/n100/args=f32.f32.f32", "triton_add/f32/n50/args=f32.f32.f32",
        "triton_add/f64/n100/args=f64.f64.f64", "triton_accumulate/f32/n100/args=f32.f32",
    ]  # fmt: skip


def test_a_configuration_that_raises_is_a_failed_trial_and_the_others_go_on(lab, numbers):
    # 24 is no power of two, which `arange` refuses.
    kernel, bench = lab.tuned([lab.config(24), lab.config(64), lab.config(32)])
    assert add(lab, kernel, numbers) == 0
    assert kernel.best_config.kwargs == {"BLOCK": 32} and len(bench.timed) == 2
    assert kernel.configs_timings[kernel.configs[0]][0] == float("inf")
    assert [status for status, _ in trials(lab)] == ["run_error", "ok", "ok"]
    again, other = lab.tuned([lab.config(24), lab.config(64), lab.config(32)])
    assert add(lab, again, numbers) == 0 and other.timed == []


def test_where_every_configuration_fails_one_line_says_why_and_they_are_tried_again(lab, numbers):
    kernel, _ = lab.tuned([lab.config(24), lab.config(40)])
    for _ in range(2):
        with pytest.raises(NoneRight, match=r"every configuration failed: .*power of 2") as caught:
            add(lab, kernel, numbers)
        assert isinstance(caught.value, TunerError) and caught.value.__cause__ is not None
    assert len(trials(lab)) == 4


@pytest.mark.parametrize("kind", ["wrong", "half", "nothing", "far"])
def test_a_wrong_result_is_found_though_buffers_are_reused(lab, numbers, kind):
    # The wrong one is the fastest, and what it leaves out is there already from the configuration before it.
    configs = [lab.config(64, KIND="right"), lab.config(16, KIND=kind), lab.config(32, KIND="right")]
    kernel, bench = lab.tuned(configs)
    with pytest.warns(Rejected, match=f"rejected 1 configuration: BLOCK: 16, KIND: {kind}") as caught:
        assert add(lab, kernel, numbers) == 0
    where = "y_ptr" if kind == "far" else "out_ptr"
    assert f"{where}[{50 if kind == 'half' else 0}] is " in str(caught[0].message)
    assert kernel.best_config.kwargs["BLOCK"] == 32 and len(bench.timed) == 2
    assert [status for status, _ in trials(lab)].count("wrong_result") == 1


def test_a_wrong_one_that_comes_first_is_outvoted(lab, numbers):
    configs = [lab.config(b, KIND=k) for b, k in ((16, "half"), (32, "right"), (64, "right"))]
    kernel, _ = lab.tuned(configs)
    with pytest.warns(Rejected, match="KIND: half.* of 100 elements differ"):
        assert add(lab, kernel, numbers) == 0


def test_what_is_stored_as_right_is_what_a_new_configuration_is_compared_with(lab, numbers):
    right = lab.config(32, KIND="right"), lab.config(64, KIND="right")
    add(lab, lab.tuned(list(right))[0], numbers)
    numbers[2].copy_(numbers[0] + numbers[1])  # the buffer holds the right result
    wrong = [lab.config(b, KIND="nothing") for b in (2, 4, 8)]
    kernel, bench = lab.tuned([*wrong, *right])
    with pytest.warns(Rejected, match="rejected 3 configurations"):
        assert add(lab, kernel, numbers) == 0
    assert kernel.best_config.kwargs["BLOCK"] == 32 and bench.timed == []


def test_tuning_leaves_the_tensors_of_a_call_as_they_were(lab, numbers):
    # Each attempt adds to the buffer; Triton itself needs `restore_value` for that.
    x, _, out = numbers
    for more in ({}, {"restore_value": ["out_ptr"]}):
        out.fill_(1.0)
        kernel, bench = lab.tuned(
            [lab.config(16), lab.config(32)], lab.kernels.accumulate, db=f"{lab.db}.{len(more)}", **more
        )
        kernel[lab.kernels.grid](x, out, n=100)
        assert len(bench.timed) == 2
        assert float((out - 1 - x).abs().max()) < 1e-6


def test_outputs_that_hooks_put_back_are_compared_before(lab, numbers):
    configs = [lab.config(b, TWICE=b == 16) for b in (64, 16, 32)]
    kernel, _ = lab.tuned(configs, lab.kernels.accumulate, restore_value=["out_ptr"])
    with pytest.warns(Rejected, match="TWICE: True"):
        kernel[lab.kernels.grid](numbers[0], numbers[2], n=100)


def test_without_memory_for_copies_nothing_is_compared_and_the_kernel_is_tuned(lab, numbers, monkeypatch):
    from tuner.integrations.triton.outputs import Outputs

    def judge(self, number, attempt):
        raise MemoryError("no memory for copies")

    monkeypatch.setattr(Outputs, "judge", judge)
    kernel, bench = lab.tuned([lab.config(32), lab.config(16)])
    assert add(lab, kernel, numbers) == 0
    assert len(bench.timed) == 2 and kernel.best_config.kwargs["BLOCK"] == 16
    with open_store(lab.db) as store:
        (row,) = store.best(evidence=["predicted"])
    assert row.metrics["outputs_compared"] == 0


def test_reset_to_zero_and_hooks_are_tritons(lab, numbers):
    x, _, out = numbers
    calls = []
    kernel, _ = lab.tuned(
        [lab.config(16), lab.config(32)], lab.kernels.accumulate, reset_to_zero=["out_ptr"],
        post_hook=lambda args, exception: calls.append(exception),
    )  # fmt: skip
    kernel[lab.kernels.grid](x, out, n=100)
    assert float((out - x).abs().max()) < 1e-6
    assert calls and set(calls) == {None}
    with pytest.raises(ValueError, match="nonsense"):
        lab.tuned([lab.config(16)], reset_to_zero=["nonsense"])


def test_pruning_is_tritons(lab, numbers):
    configs = [lab.config(b) for b in (16, 32, 64, 128)]
    kernel, bench = lab.tuned(
        configs, prune_configs_by={
            "early_config_prune": lambda configs, named, **m: [c for c in configs if c.kwargs["BLOCK"] > 16],
            "perf_model": lambda **args: args["BLOCK"], "top_k": 2,
        },
    )  # fmt: skip
    add(lab, kernel, numbers)
    assert sorted(c["BLOCK"] for c in bench.timed) == [32, 64]


def test_one_configuration_is_launched_without_a_look_at_the_store(lab, numbers):
    kernel, bench = lab.tuned([lab.config(16)])
    assert add(lab, kernel, numbers) == 0 and bench.timed == [] and not lab.db.exists()


def test_a_constant_that_is_given_and_tuned_is_refused(lab, numbers):
    kernel, _ = lab.tuned([lab.config(16), lab.config(32)])
    with pytest.raises(ValueError, match="BLOCK is given in the call and tuned too"):
        add(lab, kernel, numbers, BLOCK=16)


def test_forgetting_choices_asks_the_store_again(lab, numbers):
    kernel, bench = lab.tuned([lab.config(16), lab.config(32)])
    add(lab, kernel, numbers)
    kernel.cache[next(iter(kernel.cache))] = kernel.configs[1]
    add(lab, kernel, numbers)
    assert kernel.best_config is kernel.configs[1]
    kernel.cache.clear()
    add(lab, kernel, numbers)
    assert kernel.best_config is kernel.configs[0] and len(bench.timed) == 2


def test_a_database_that_cannot_be_used_is_a_warning_and_the_kernel_runs(lab, numbers, tmp_path):
    kernel, bench = lab.tuned([lab.config(32), lab.config(16)], db=str(tmp_path / "nowhere" / "x" / "r.db"))
    (tmp_path / "nowhere").write_text("a file")
    with pytest.warns(NotKept, match="autotune keeps no results"):
        assert add(lab, kernel, numbers) == 0
    assert kernel.best_config.kwargs["BLOCK"] == 16 and len(bench.timed) == 2


def test_without_a_benchmarker_the_interpreter_says_what_is_right_and_no_times(lab, numbers):
    from tuner.integrations.triton import autotune

    configs = [lab.config(16, KIND="half"), lab.config(64, KIND="right"), lab.config(32, KIND="right")]
    kernel = autotune(configs, ["n"])(lab.triton.jit(lab.kernels.add))
    with pytest.warns(Rejected):
        assert add(lab, kernel, numbers) == 0
    assert kernel.best_config.kwargs["BLOCK"] == 64
    with open_store(lab.db) as store:
        (sweep,) = store.sweeps()
        assert {str(t.measurement.evidence) for t in store.sweep_history(sweep.id)} == {"emulated"}
        assert sweep.best_s is None


def test_times_of_the_interpreter_are_never_called_measured(lab, numbers):
    add(lab, lab.tuned([lab.config(16), lab.config(32)])[0], numbers)
    runner = CliRunner()
    best = runner.invoke(app, ["best", "triton_add", "--db", str(lab.db)])
    assert "nothing measured of triton_add; --evidence predicted shows" in str(best.exception)
    best = runner.invoke(app, ["best", "triton_add", "--evidence", "predicted", "--db", str(lab.db)])
    assert "add (predicted)+" in best.output and "BLOCK=16 num_warps=4" in best.output
    assert "in Triton's interpreter, not by the judge" in best.output
    shown = runner.invoke(app, ["show", "t1", "--db", str(lab.db)])
    assert "timer  tests.integrations.conftest.Bench" in shown.output and "predicted" in shown.output
    assert "not by the judge" in runner.invoke(app, ["show", "s1", "--db", str(lab.db)]).output


def test_who_prints_gets_one_line(lab, numbers, monkeypatch, capsys):
    monkeypatch.setattr(lab.triton.knobs.autotuning, "print", True)
    kernel, _ = lab.tuned([lab.config(24), lab.config(16)])
    add(lab, kernel, numbers)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Triton autotuning for function add with key (100, 'torch.float32'")
    assert "2 tried, 0 from " in line and "1 failed" in line and "best config: BLOCK: 16" in line
    add(lab, kernel, numbers)
    assert capsys.readouterr().out == ""


def test_tritons_listener_is_told(lab, numbers, monkeypatch):
    if not hasattr(lab.triton.knobs.autotuning, "listener"):
        pytest.skip("Triton has a listener since 3.8")
    heard = []
    monkeypatch.setattr(lab.triton.knobs.autotuning, "listener", lambda **record: heard.append(record))
    kernel, _ = lab.tuned([lab.config(16), lab.config(32)])
    add(lab, kernel, numbers)
    add(lab, lab.tuned([lab.config(16), lab.config(32)])[0], numbers)
    assert [record["cache_hit"] for record in heard] == [False, True]
    assert heard[0]["best_config"].kwargs == {"BLOCK": 16} and heard[1]["duration"] is None
    assert sorted(times[0] for times in heard[0]["configs_timings"].values()) == [16.0, 32.0]


_TEXTS = st.text(max_size=12)
_VALUES = st.one_of(
    st.integers(-(10**20), 10**20), st.booleans(), st.none(), _TEXTS, st.floats(), st.tuples(st.integers())
)


@settings(max_examples=60)
@given(
    st.dictionaries(st.text("aAbB_19", min_size=1, max_size=4), _VALUES, max_size=5),
    st.lists(_TEXTS, max_size=3),
)
def test_every_key_makes_a_workload_that_is_read_back(values, dtypes):
    workload = workload_of("kernel", values, dtypes)
    assert Workload.from_key(workload.key) == workload


def test_no_warning_where_all_is_well(lab, numbers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add(lab, lab.tuned([lab.config(16), lab.config(32)])[0], numbers)
