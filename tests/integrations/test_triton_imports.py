"""What Triton's own autotuner found: its cache files, and what its listener hears."""

import json

import pytest
from typer.testing import CliRunner

from tests.integrations.test_triton_autotune import add
from tuner.cli import app
from tuner.core.errors import InterchangeError, Unavailable
from tuner.interchange import read_recorded
from tuner.store.store import open_store


def config(block, **more):
    return {"kwargs": {"BLOCK": block}, "num_warps": 4, "num_ctas": 1, "num_stages": 3, "maxnreg": None,
            "pre_hook": None, "ir_override": None, **more}  # fmt: skip


def cache(**more):
    """As `Autotuner.check_disk_cache` writes it."""
    timings = [
        [config(16), [0.25, 0.2, 0.3]], [config(32, num_warps=8), [0.5, 0.4, 0.6]],
        [config(64, maxnreg=32), [float("inf")] * 3],
    ]  # fmt: skip
    return {"key": [100, "torch.float32", True], "configs_timings": timings, **more}


def written(tmp_path, content, name="add_kernel.autotune.json"):
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return path


def test_a_cache_of_triton_is_read_with_its_failures(tmp_path):
    recorded = read_recorded(written(tmp_path, cache()), device="NVIDIA A100")
    assert recorded.label == "add_kernel(float32, True) 100 on NVIDIA A100"
    best = recorded.outcome({"BLOCK": 16, "num_warps": 4, "num_stages": 3, "num_ctas": 1, "maxnreg": "none"})
    assert best.samples == (0.25e-3,) and best.metrics == {"q20_s": 0.2e-3, "q80_s": 0.3e-3}
    assert [str(t.status) for t in recorded.trials] == ["ok", "ok", "build_error"]


def test_it_is_imported_as_replayed_once_and_shown(tmp_path):
    path, db = written(tmp_path, cache()), str(tmp_path / "r.db")
    runner = CliRunner()
    for line in (
        "3 replayed trials of add_kernel(float32, True) 100 on unknown device",
        "3 were there already",
    ):
        assert line in runner.invoke(app, ["import", str(path), "--db", db]).output
    best = runner.invoke(app, ["best", "add_kernel_float32_true", "--evidence", "replayed", "--db", db])
    assert "(replayed)" in best.output and "BLOCK=16" in best.output


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (cache(configs_timings=[]), "has no configurations"),
        (
            cache(configs_timings=[[config(16)]]),
            "configuration 0 is no pair of a configuration and its times",
        ),
        (cache(configs_timings=[[config(16), ["fast"]]]), "a time is not a number"),
        (cache(configs_timings=[[config(16), [-1.0]]]), "a time is not a time"),
        (cache(configs_timings=[[config(16), [float("nan")]]]), "NaN"),
        (cache(key=5), "'key' cannot be 5"),
        (cache(key=[1] * 101), "a key of more than 100 parts"),
    ],
)
def test_a_broken_cache_is_one_line(tmp_path, content, reason):
    with pytest.raises(InterchangeError, match=reason) as caught:
        read_recorded(written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_what_triton_tells_its_listener_is_stored_as_a_recording(lab, numbers, monkeypatch):
    from tests.integrations.conftest import Bench
    from tuner.integrations.triton import listener

    if not hasattr(lab.triton.knobs.autotuning, "listener"):
        with pytest.raises(Unavailable, match=r"3\.8 and later"):
            listener()
        return
    monkeypatch.setattr(lab.triton.knobs.autotuning, "listener", listener(str(lab.db)))
    kernel, _ = lab.tuned([lab.config(16), lab.config(24)], db=f"{lab.db}.own")
    assert add(lab, kernel, numbers) == 0
    # And Triton's own autotuner, whose listener is told the kernel itself.
    from triton.runtime import autotuner as theirs

    monkeypatch.setattr(theirs, "JITFunction", type(lab.triton.jit(lab.kernels.add)))
    own = lab.triton.autotune([lab.config(16), lab.config(32)], ["n"], do_bench=Bench(lambda config: 2.0))
    assert add(lab, own(lab.triton.jit(lab.kernels.add)), numbers) == 0
    with open_store(lab.db) as store:
        sweeps = store.sweeps()
        assert [s.spec.imported for s in sweeps] == [True, True]
        assert [s.statuses for s in sweeps] == [{"ok": 1, "build_error": 1}, {"ok": 2}]
        assert {str(t.measurement.evidence) for t in store.sweep_history(1)} == {"replayed"}
