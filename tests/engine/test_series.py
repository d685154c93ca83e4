"""Many workloads in a row, and kernels that give up a race."""

import pytest

from tests.engine.calm import CalmCpu
from tests.engine.planted import planted
from tuner import registry
from tuner.core.errors import TunerError, UnknownName
from tuner.core.measurement import Evidence
from tuner.core.protocol import Protocol
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.experiment import read_experiment, run_experiment
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.race import FAR_BEHIND, Race
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.series import SeriesLayer, layers_of, run_series
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")
QUICK = Protocol(threads=1, budget_s=0.02, run_timeout_s=5.0)
# Forty times the work of the right one, and as right.
SLOW = "for (int again = 0; again < 40 + UNUSED; ++again) right(A, B, D, m, n, k);"


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "results.db")) as made:
        yield made


def race(store, kernels, trials, observer=None, **options):
    with Workshop(CalmCpu(), QUICK, seed=3) as workshop:
        requests = [
            SweepRequest(k, WORKLOAD, "random", 5, Budget(trials=trials), resume=True) for k in kernels
        ]
        found = Race(requests, workshop, store, observer or Observer(), workshop.calibrate()[0], **options)
        return found, found.run()


def test_a_kernel_far_behind_is_given_up_and_the_others_go_on(store, tmp_path):
    kernels = [
        planted(tmp_path, "slow", SLOW, values=list(range(8))),
        planted(tmp_path, "quick", values=list(range(8))),
        planted(tmp_path, "wrong", "D[0] = UNUSED;", values=list(range(8))),
    ]
    _, results = race(store, kernels, 6, give_up_after=2)
    assert {name: len(r.trials) for name, r in results.items()} == {"slow": 2, "quick": 6, "wrong": 2}
    assert results["slow"].best.measurement.time_s > FAR_BEHIND * results["quick"].best.measurement.time_s
    stored = {s.spec.kernel.name: s for s in store.sweeps("gemm", WORKLOAD.key)}
    assert [stored[n].status for n in ("slow", "quick", "wrong")] == ["finished"] * 3
    assert [stored[n].summary["behind"] for n in ("slow", "quick", "wrong")] == [True, False, True]
    # Run again with reuse, nothing is left to do.
    _, again = race(store, kernels, 6, give_up_after=2, reuse=True)
    assert {n: r.sweep_id for n, r in again.items()} == {n: r.sweep_id for n, r in results.items()}
    # Asked to wait for more trials before giving up, what was given up earlier begins again.
    _, patient = race(store, kernels, 6, give_up_after=4, reuse=True)
    assert {n: len(r.trials) for n, r in patient.items()} == {"slow": 4, "quick": 6, "wrong": 4}
    # Asked without giving up, the slow one is owed its trials.
    _, full = race(store, kernels[:1], 6, reuse=True)
    assert len(full["slow"].trials) == 6


def test_an_interrupted_race_leaves_every_sweep_resumable(store, tmp_path):
    class Impatient(Observer):
        def trial_done(self, event):
            if event.number == 3:  # in the second leg of the first kernel
                raise KeyboardInterrupt

    kernels = [planted(tmp_path, name, values=list(range(8))) for name in ("one", "two")]
    found, results = race(store, kernels, 6, Impatient(), give_up_after=2)
    assert found.interrupted
    assert {s.status for s in store.sweeps("gemm", WORKLOAD.key)} == {"interrupted"}
    assert len(results["two"].trials) == 2
    _, resumed = race(store, kernels, 6, give_up_after=2)
    assert {len(r.trials) for r in resumed.values()} == {6}
    assert {r.sweep_id for r in resumed.values()} == {r.sweep_id for r in results.values()}


def test_a_series_runs_each_workload_once_and_measures_peaks_once(store):
    shapes = ("8x8x8", "16x16x16", "8x8x8")
    layers = [SeriesLayer(GEMM.parse(shape), "model", 2) for shape in shapes]
    plan = campaign.Plan("random", 0, Budget(trials=2), rounds=6)
    device = CalmCpu()
    outcomes = run_series(
        layers, campaign.Setting(device, QUICK, plan, store), ["cpp_naive", "cpp_tiled"], False
    )
    assert [w.key for w in outcomes] == ["gemm/f32/m8-n8-k8", "gemm/f32/m16-n16-k16"]
    assert all(o.final_id is not None for o in outcomes.values())
    assert all(set(o.sweeps) == {"cpp_naive", "cpp_tiled"} for o in outcomes.values())


def test_a_campaign_cut_off_in_its_final_keeps_the_sweeps_that_finished(store, monkeypatch):
    """Asked again with `resume` it holds the final; asked anew it measures."""
    plan = campaign.Plan("random", 0, Budget(trials=2), rounds=6, resume=True)
    setting = campaign.Setting(CalmCpu(), QUICK, plan, store)

    def swept():
        outcome = run_series([SeriesLayer(WORKLOAD)], setting, ["cpp_naive", "cpp_tiled"], False)[WORKLOAD]
        return outcome, {name: (r.sweep_id, len(r.trials)) for name, r in outcome.sweeps.items()}

    with monkeypatch.context() as patched:
        patched.setattr(campaign, "hold_final", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        first, before = swept()
    again, after = swept()
    assert first.interrupted and first.final_id is None and again.final_id is not None
    assert after == before and again.campaign_id == first.campaign_id
    _, anew = swept()  # that one finished: this is another campaign
    assert not {i for i, _ in anew.values()} & {i for i, _ in after.values()}


def test_a_kernel_of_no_operator_of_the_series_is_named():
    layers = [SeriesLayer(GEMM.parse("8x8x8"))]
    device = campaign.default_device()
    with pytest.raises(TunerError, match="conv_naive computes gemm"):
        run_series(layers, campaign.Setting(device, QUICK, campaign.Plan(), None), ["conv_naive"])


def test_sets_become_layers_of_one_operator_or_of_all():
    of_llama = layers_of(["llama-7b"], None, "f32")
    assert {layer.workload.operator for layer in of_llama} == {"gemm", "attention"}
    attention = layers_of(["bert-base", "llama-7b"], "attention", "f32")
    assert [(layer.model, layer.count) for layer in attention] == [
        ("bert-base", 12),
        ("llama-7b", 32),
        ("llama-7b", 32),
    ]
    with pytest.raises(TunerError, match="no gemm in resnet50"):
        layers_of(["resnet50"], "gemm", "f32")
    with pytest.raises(UnknownName, match="resnet50"):
        layers_of(["resnet5"], None, "f32")


def test_an_experiment_may_name_models_in_place_of_shapes(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('workloads = ["bert-base"]\nkernels = ["attn_flash", "cpp_packed"]\n')
    assert [layer.workload.operator for layer in read_experiment(path).layers()].count("gemm") == 3
    for text, words in (
        ('workloads = ["bert"]', "bert-base"),
        ('operator = "gemm"', "'shapes' or 'workloads'"),
        ('shapes = ["8x8x8"]', "missing key 'operator'"),
        ('workloads = ["bert-base"]\nkernels = ["conv_naive"]', "does not compute gemm or attention"),
        ('workloads = ["bert-base"]\n[budget]\ngive_up_after = 0', "at least 1 trial"),
    ):
        path.write_text(text)
        with pytest.raises(TunerError, match=words):
            read_experiment(path)


def test_an_experiment_says_where_it_runs_and_options_take_its_place(tmp_path):
    path = tmp_path / "x.toml"
    head = 'operator = "gemm"\nshapes = ["16x16x16"]\n'
    path.write_text(head + 'device = "cpu"\n')
    assert read_experiment(path).on().name == campaign.default_device().name
    elsewhere = {"device": None, "target": "cuda:sm_90", "no_device": True}
    described = read_experiment(path, place=elsewhere).on()
    assert (described.target.name, described.evidence) == ("cuda:sm_90", Evidence.PREDICTED)
    assert described.default_protocol().threads == 1
    for text, words in (
        ("no_device = true", "give --target"),
        ('no_device = true\ntarget = "cuda:sm_90"\ndevice = "cuda:0"', "no --device"),
        ('no_device = true\ntarget = "cuda:sm_1"', "'cuda:sm_1'"),
        ("no_device = 1", "no_device is true or false"),
    ):
        path.write_text(head + text)
        with pytest.raises(TunerError, match=words):
            read_experiment(path)


@pytest.mark.skipif(
    registry.builder("nvrtc").unavailable() is not None, reason="needs the extra 'cuda' (NVRTC wheels)"
)
def test_an_experiment_without_its_device_is_compiled_and_ranked(store, tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text(
        'operator = "gemm"\nshapes = ["8x8x8"]\nkernels = ["cuda_naive"]\nthreads = 900\n'
        'target = "cuda:sm_90"\nno_device = true\nsearcher = "grid"\n[budget]\ntrials = 2\n'
    )
    told: list[str] = []
    observer = Observer()
    observer.note = told.append
    outcomes = run_experiment(read_experiment(path), store, observer, "paper")
    campaign_id = {outcome.campaign_id for outcome in outcomes.values()}.pop()
    stored = store.campaign(campaign_id)
    assert stored.state == "finished" and stored.spec.target == "cuda:sm_90"
    assert stored.spec.asked["measured"] is False and not stored.spec.asked["baselines"]
    for part in stored.parts:
        ((kernel,), final) = (part.kernels, part.final_id)
        trials = store.sweep_history(kernel.sweep_id)
        assert final is None and len(trials) == 2 and kernel.best_id is not None
        assert {t.measurement.evidence for t in trials} == {Evidence.PREDICTED}
    # Asked again, nothing is compiled a second time.
    again = run_experiment(read_experiment(path), store, observer, "paper")
    assert [o.reused for o in again.values()] == [frozenset({"cuda_naive"})]
    assert "cuda_naive: sweep s1 of the store is reused" in told
