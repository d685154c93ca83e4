"""Libraries are held to what kernels are: their results are right on inputs that change between calls."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tuner import registry

LIBRARIES = ["conv_torch", "conv_torch_channels_last"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_convolution_that_converts_its_weights_sees_them_change(name: str, tmp_path: Path) -> None:
    if reason := registry.kernel(name).unavailable():
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "sweep", "conv2d", "--shape", "n1 c8 h9 w9 k16 r3 s3 pad=1 relu",
         "--kernel", name, "--no-baselines", "--rounds", "0", "--trials", "1", "--json",
         "--db", str(tmp_path / "r.db")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = json.loads(done.stdout)["sweeps"].values()
    assert sweep["best"]["time_s"] > 0
