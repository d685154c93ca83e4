"""What all tests share: a database of their own, reproducible examples, and the `gpu` marker."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# One thread a process, before NumPy or torch is loaded: two test processes whose thread pools spin for two
# cores are ten times slower than one thread each. What a kernel may use is the protocol's business.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Help and errors of the command line are as wide as the terminal of whoever runs the tests: here always 80.
os.environ.update(COLUMNS="80", LINES="24")

# Tests start hundreds of commands. Without bytecode each compiles a hundred files of the lab anew, a good
# part of the time they take; a user's Python keeps it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Nor are the tests' assertions rewritten anew: half of the time before the first test.
sys.dont_write_bytecode = False

# What a script starts in the background (`make test &`) ignores Ctrl-C, what nohup starts SIGHUP. Commands
# that the tests start would too, and a signal sent to it would end nothing; a handler is not handed on.
# The suite itself goes on, as whoever started it wants.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(_number, lambda _number, _frame: None)

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


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`@pytest.mark.sampled(n)`: n cases of a test, evenly spread, are in the default suite, others `slow`.

    With `each="kernel"` n cases of each value of that parameter are; of several, `each=("kernel", "dtype")`.
    """
    cases: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        callspec = getattr(item, "callspec", None)  # of functions with cases alone
        if (mark := item.get_closest_marker("sampled")) and callspec:
            values = callspec.params
            each = mark.kwargs.get("each", ())
            value = str([values[name] for name in ((each,) if isinstance(each, str) else each)])
            cases.setdefault((item.nodeid.split("[")[0], value), []).append(item)
    for number, group in enumerate(cases.values()):
        mark = group[0].get_closest_marker("sampled")
        assert mark is not None
        kept = min(mark.args[0], len(group))
        # Of a single one of each value not always the first.
        chosen = {round(i * (len(group) - 1) / max(1, kept - 1)) for i in range(kept)}
        chosen = {number % len(group)} if kept == 1 else chosen
        for place, item in enumerate(group):
            if place not in chosen:
                item.add_marker(pytest.mark.slow)


# Peaks of no machine, beyond every kernel's reach: to measure them takes seconds in every test with a final.
_PEAKS = {"peak_flops_f32": 1e15, "peak_flops_f32_core": 1e15, "bandwidth_bytes_per_s": 1e13}


@pytest.fixture(scope="session", autouse=True)
def _own_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What measures in this process of the suite keeps clear of real sweeps, and of no other test process."""
    from tuner.devices.cpu.device import CpuDevice

    folder = tmp_path_factory.mktemp("locks")
    folder.chmod(0o700)
    os.environ["TUNER_LOCKS"] = str(folder)
    peaks = tmp_path_factory.mktemp("peaks") / "peaks.json"
    name = CpuDevice().fingerprint
    peaks.write_text(json.dumps({f"{name}_threads{n}": _PEAKS for n in range(1, (os.cpu_count() or 1) + 1)}))
    os.environ["TUNER_PEAKS"] = str(peaks)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """A library that a test loaded for two threads leaves its pool so: those of later tests would spin."""
    yield
    if "numpy" in sys.modules:
        import threadpoolctl

        if any(pool["num_threads"] != 1 for pool in threadpoolctl.threadpool_info()):
            threadpoolctl.threadpool_limits(1)


@pytest.fixture
def measured_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peaks are measured, as for a user."""
    monkeypatch.delenv("TUNER_PEAKS")


@pytest.fixture(scope="module")
def calm() -> Iterator[None]:
    """Commands of this module's tests find the processor calm, see `tests/plugins/calm_cpu.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_PLUGINS", str(Path(__file__).parent / "plugins"))
        yield


@pytest.fixture(autouse=True)
def _own_database(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's results."""
    monkeypatch.setenv("TUNER_DB", str(tmp_path_factory.getbasetemp() / "results.db"))
