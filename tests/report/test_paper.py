"""What was only compiled stands beside what was measured, where nobody takes it for a time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.test_comparison import DEVICE, PROTOCOL, outcome, stored
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.trial import Trial, TrialKey
from tuner.report.present import present, present_all
from tuner.store.campaign_records import (
    CampaignKernel,
    CampaignLayer,
    CampaignPart,
    CampaignSpec,
    StoredCampaign,
)
from tuner.store.records import DeviceInfo, KernelInfo, SweepSpec
from tuner.store.store import Store, open_store

GPU = DeviceInfo("described-cuda:sm_90", "H100 as described (no device)", "described", "cuda:sm_90")


def on_paper(store: Store, like: StoredCampaign, experiment: str = "") -> StoredCampaign:
    """Two CUDA kernels with predicted times, and one of which nothing compiled."""
    workload, kernels = like.parts[0].workload, []
    for name, seconds in (("cuda_tiles", 2e-6), ("cuda_naive", 9e-6), ("cuda_broken", None)):
        kernel = KernelInfo(name, "source", "nvrtc", "gemm")
        sweep = store.begin_sweep(SweepSpec(workload, GPU, kernel, "cuda:sm_90", "random", 0, PROTOCOL))
        metrics = {"registers": 96.0, "shared_bytes": 2048.0, "spill_bytes": 0.0, "emulated_shapes": 5.0}
        found = Measurement(Status.BUILD_ERROR, Evidence.COMPILED, error="no")
        if seconds:
            found = Measurement(Status.OK, Evidence.PREDICTED, (seconds,), metrics=metrics)
        key = TrialKey(
            workload, name, "source", {"T": 1}, "cuda:sm_90", "tool", GPU.fingerprint, PROTOCOL.digest
        )
        (trial,) = store.add_trials(sweep, [Trial(key, found)])
        store.finish_sweep(sweep)
        kernels.append(
            CampaignKernel(
                name, "source", "nvrtc", False, "random", sweep_id=sweep, trials=1,
                best_id=trial if seconds else None,
                summary={"statuses": {"ok" if seconds else "build_error": 1}},
            )
        )  # fmt: skip
    spec = CampaignSpec("comparison", "paper", GPU, "cuda:sm_90", PROTOCOL, [workload], {"measured": False},
                        experiment=experiment)  # fmt: skip
    number = store.begin_campaign(spec)
    store.begin_part(number, 0, kernels)
    store.finish_part(number, CampaignPart(0, workload, "finished", kernels))
    store.finish_campaign(number)
    return store.campaign(number)


def test_rows_on_paper_have_no_time_and_a_column_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    with open_store(tmp_path / "r.db") as store:
        measured = stored(store, outcome(store))
        paper = on_paper(store, measured)
        present_all([measured, paper], store, tmp_path / "out")
        printed = capsys.readouterr().out
        present_all([paper], store, tmp_path / "paper")
        alone = capsys.readouterr().out
    assert "on paper for cuda:sm_90, not measured" in printed
    rows = {
        line.split()[0]: line.split() for line in printed.splitlines() if line.strip().startswith("cuda_")
    }
    assert rows["cuda_tiles"][1:10] == ["-"] * 6 + ["1", "on", "paper"]
    assert " ".join(rows["cuda_tiles"][10:]) == (
        "rank 1 of 2; 96 registers, 2.0 KiB shared, no spills; right on 5 shapes, emulated"
    )
    assert "rank 2 of 2" in " ".join(rows["cuda_naive"])
    assert "nothing right to rank (build_error: 1)" in " ".join(rows["cuda_broken"])
    packed = next(line for line in printed.splitlines() if line.strip().startswith("cpp_packed "))
    assert "rank" not in packed and "µs" in packed
    assert "Nothing of them was measured." in printed
    (document,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["rank"] for row in document["on_paper"]] == [1, 2, None]
    assert not any("time" in key for row in document["on_paper"] for key in row)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [c["device"]["fingerprint"] for c in result["campaigns"]] == [DEVICE.fingerprint]
    # Alone it has the same columns, and no picture that would show predictions as bars of time.
    assert "2 µs" not in alone and "2.00 µs" not in alone and "rank 1 of 2" in alone
    assert not list((tmp_path / "paper").glob("*.png"))


def test_the_layers_of_a_model_on_paper_have_ranks_and_no_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with open_store(tmp_path / "r.db") as store:
        paper = on_paper(store, stored(store, outcome(store)))
        layer = CampaignLayer(paper.parts[0].workload.key, "bert-base", 12)
        spec = replace(paper.spec, kind="network", layers=[layer], command="tuner compare x.toml")
        present(replace(paper, spec=spec), store, tmp_path / "out")
        told = capsys.readouterr().out
        monkeypatch.setenv("COLUMNS", "80")
        present(replace(paper, spec=spec), store)
        narrow = capsys.readouterr().out
    page = (tmp_path / "out" / "network.md").read_text()
    document = json.loads((tmp_path / "out" / "network.json").read_text())
    assert "cuda_tiles" in narrow, "what a narrow terminal may not cut"
    for text in (told, page):
        assert "cuda_tiles" in text and "96 registers" in text
        assert "nothing was measured" in " ".join(text.split())
        # Of 2 and 9 microseconds that the model gave, and of what only a final does.
        assert "µs" not in text and "±" not in text and "interleaved" not in text
    assert document["measured"] is False and document["layers"][0]["count"] == 12
    ranks = [row["rank"] for row in document["layers"][0]["on_paper"]]
    assert ranks == [1, 2, None] and "time" not in json.dumps(document)
