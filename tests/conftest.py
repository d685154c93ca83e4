"""What all tests share: a database of their own, reproducible examples, and the `gpu` marker."""

import os
import shutil
import subprocess
from functools import cache

import hypothesis
import pytest

# One thread a process, before NumPy or torch is loaded: two test processes whose thread pools spin for two
# cores are ten times slower than one thread each. What a kernel may use is the protocol's business.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Equal examples on every run: a failure in CI is a failure here, and no run fails by bad luck.
hypothesis.settings.register_profile("tuner", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tuner")


@cache
def _no_gpu() -> str | None:
    # Asked in another process: a process that has initialised CUDA can no longer fork workers that use it.
    program = shutil.which("nvidia-smi")
    if program is None:
        return "no NVIDIA driver (nvidia-smi is not on PATH)"
    answer = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60)
    return None if answer.returncode == 0 and "GPU" in answer.stdout else "nvidia-smi lists no GPU"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and (reason := _no_gpu()):
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _own_database(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's results."""
    monkeypatch.setenv("TUNER_DB", str(tmp_path_factory.getbasetemp() / "results.db"))
