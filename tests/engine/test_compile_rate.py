"""The figure of compile rates: it counts what compiled, and only that."""

import json

import pytest

from tuner import registry
from tuner.lab.compile_rate import Rate, compile_rate, main
from tuner.targets.cuda import target

REASON = registry.builder("nvrtc").unavailable()


def test_refused_candidates_do_not_count() -> None:
    assert Rate("nvrtc", 30, 10, 20.0, 1.0).a_minute == 90


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
@pytest.mark.slow
def test_a_short_run_counts_cubins_with_their_resources(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--language", "nvrtc", "--seconds", "0.01", "--jobs", "2", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["built"] >= 16 - row["failed"] > 0 and row["seconds"] > 0 and row["goal"] == 60
    assert code == int(row["a_minute"] < 60)


def test_what_cannot_be_built_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.core.errors import TunerError

    monkeypatch.setattr(type(registry.builder("triton")), "unavailable", lambda self: "no Triton here")
    with pytest.raises(TunerError, match="no Triton here"):
        compile_rate("triton", registry.operator("gemm"), "64x64x64", target("cuda:sm_80"), 1, 1)
