"""The table of the GPU ladder: best-ranked configurations compiled for a target that is not there."""

import pytest

from tuner import registry
from tuner.lab.ladder import Search, climb, main
from tuner.targets.cuda import target

REASON = registry.builder("nvrtc").unavailable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def test_rows_say_what_the_rung_is_for() -> None:
    names = ["cuda_naive", "cuda_vectorized", "cuda_tensor_cores"]
    gemm, chosen = registry.operator("gemm"), target("cuda:sm_80")
    rows = {r.kernel.name: r for r in climb(gemm, "256x256x256", chosen, Search(2, 0), names)}
    assert set(rows) == set(names)
    for row in rows.values():
        assert row.metrics["spill_bytes"] == 0 and 0 < row.metrics["occupancy"] <= 1
        assert row.built >= 2 and row.limiter
    assert rows["cuda_naive"].metrics["load_bits"] == 32
    assert rows["cuda_vectorized"].metrics["load_bits"] == 128
    assert rows["cuda_vectorized"].metrics["loop_math_share"] > rows["cuda_naive"].metrics["loop_math_share"]
    assert rows["cuda_tensor_cores"].metrics["loop_tensor"] > 0
    assert rows["cuda_vectorized"].prediction.time_s < rows["cuda_naive"].prediction.time_s


def test_the_command_prints_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--target", "cuda:sm_75", "--kernel", "cuda_shared_tiles", "--samples", "2", "--rounds", "0"])
    printed = capsys.readouterr().out
    assert "### cuda:sm_75 (GeForce RTX 2080 Ti), 4096x4096x4096" in printed
    assert "| cuda_shared_tiles | f32 |" in printed and "predicted, not measured" in printed
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
