"""Every way to end a command from outside, at every stage: nothing is lost and nothing is left behind."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.processes import family, python_path, running, wait_until
from tuner.store.store import open_store

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("building", "running", "final")
# A sweep whose stages last long enough to be met, of a kernel that costs nothing else. A plug-in of its own.
KERNEL = """/*[tuner]
name = "slow_stages"
operator = "gemm"
entry = "gemm"
arguments = ["A", "B", "D", "m", "n", "k"]
[parameters]
NUMBER = [0, 1, 2, 3, 4, 5, 6, 7]
*/
#include <cstdint>
#include <cstdio>
#include <unistd.h>
#if BUILDING
#include "endless.h"
#endif
static int made[NUMBER + 1];
extern "C" int gemm(const float* A, const float* B, float* D, int64_t m, int64_t n, int64_t k) {
  static bool noted = false;
  if (!noted) { noted = true; std::FILE* f = std::fopen("RAN", "a"); std::fputs("x", f); std::fclose(f); }
  usleep(PAUSE);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t p = 0; p < k; ++p) sum += A[i * k + p] * B[p * n + j];
      D[i * n + j] = sum + made[0];
    }
  return 0;
}
"""


class Started:
    """A sweep in a process of its own, with its own temporary folder."""

    def __init__(self, folder: Path, stage: str, arguments: list[str], terminal: bool = False) -> None:
        self.db, self.ran = folder / "x.db", folder / "ran"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        plugins = folder / "plugins"
        plugins.mkdir()
        text = KERNEL.replace("RAN", str(self.ran)).replace(
            "PAUSE", "2000000" if stage == "running" else "200"
        )
        (plugins / "slow_stages.cpp").write_text(text.replace("BUILDING", str(int(stage == "building"))))
        (plugins / "endless.h").write_text('#include "endless.h"\n' * 12)
        environment = {**os.environ, "TMPDIR": str(self.temporary), "TUNER_PLUGINS": str(plugins),
                       "PYTHONPATH": python_path(ROOT), "TUNER_DB": str(self.db)}  # fmt: skip
        self.master = -1
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if terminal:
            self.master, slave = pty.openpty()
            streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        self.process = subprocess.Popen(
            [sys.executable, *arguments], env=environment, text=True, cwd=folder, **streams,
            preexec_fn=_own_terminal if terminal else None,
        )  # fmt: skip
        if terminal:
            os.close(slave)
        self.stage = stage

    def wait_for_stage(self) -> set[psutil.Process]:
        """Until it is reached: all processes that there are then."""
        met = {"building": self._compiles, "running": self.ran.exists, "final": self._in_final}[self.stage]
        wait_until(met, 100, self.process)
        return family(self.process.pid)

    def _compiles(self) -> bool:
        # Not what the warm processes compile for themselves, before the sweep has begun.
        return any("cc1plus" in p.name() and "/build-" in p.cwd()
                   for p in family(self.process.pid))  # fmt: skip

    def _in_final(self) -> bool:
        # Two finalists hold a process each, of one zygote: the trials of a sweep are one at a time.
        if not self.db.exists():
            return False
        with open_store(str(self.db), read_only=True) as store:
            return (
                bool(store.sweeps())
                and all(s.status == "finished" for s in store.sweeps())
                and self.ran.exists()
            )

    def statuses(self) -> list[str]:
        with open_store(str(self.db), read_only=True) as store:
            return [sweep.status for sweep in store.sweeps()]

    def left_behind(self) -> list[str]:
        return [p.name for p in self.temporary.iterdir() if p.name.startswith("tuner-")]


def _own_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def sweep_arguments(stage: str) -> list[str]:
    rounds = "25" if stage == "final" else "0"
    return [
        "-m", "tuner", "sweep", "gemm", "--shape", "16x16x16", "--kernel", "slow_stages", "--trials", "8",
        "--no-baselines", "--rounds", rounds, "--searcher", "random", "--threads", "1", "--json",
    ]  # fmt: skip


def ends_in_good_order(started: Started, number: int, send: Callable[[], None]) -> None:
    children = started.wait_for_stage()
    assert children
    send()
    out, err = started.process.communicate(timeout=60)
    assert started.process.returncode == 128 + number, (out, err)
    assert "Traceback" not in (err or "")
    wanted = "finished" if started.stage == "final" else "interrupted"
    assert started.statuses() == [wanted]
    wait_until(lambda: not running(children), 20)
    assert started.left_behind() == []


QUICK = [("building", "SIGTERM"), ("running", "SIGHUP"), ("final", "SIGTERM")]
SLOW = [
    pytest.param(stage, name, marks=pytest.mark.slow)
    for stage in STAGES for name in ("SIGINT", "SIGTERM", "SIGHUP") if (stage, name) not in QUICK
]  # fmt: skip


@pytest.mark.parametrize(("stage", "name"), [*QUICK, *SLOW])
def test_a_signal_ends_a_sweep_in_good_order(stage, name, tmp_path):
    number = getattr(signal, name)
    started = Started(tmp_path, stage, sweep_arguments(stage))
    ends_in_good_order(started, number, lambda: started.process.send_signal(number))


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_two_signals_at_once_are_one(stage, tmp_path):
    """A shutdown sends SIGTERM and SIGHUP, a shell SIGHUP once more: tidying up is not interrupted."""
    started = Started(tmp_path, stage, sweep_arguments(stage))

    def send():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            started.process.send_signal(number)
            time.sleep(0.02)

    ends_in_good_order(started, signal.SIGTERM, send)


@pytest.mark.parametrize(
    "stage", ["running", *(pytest.param(s, marks=pytest.mark.slow) for s in ("building", "final"))]
)
def test_a_closed_terminal_ends_a_sweep_in_good_order(stage, tmp_path):
    started = Started(tmp_path, stage, [*sweep_arguments(stage)[:-1]], terminal=True)
    children = started.wait_for_stage()
    os.close(started.master)
    assert started.process.wait(60) == 128 + signal.SIGHUP
    assert started.statuses() == ["finished" if stage == "final" else "interrupted"]
    wait_until(lambda: not running(children), 20)
    assert started.left_behind() == []


@pytest.mark.parametrize(
    "stage", ["building", *(pytest.param(s, marks=pytest.mark.slow) for s in ("running", "final"))]
)
def test_kill_9_leaves_no_process_and_no_folder(stage, tmp_path):
    started = Started(tmp_path, stage, sweep_arguments(stage))
    children = started.wait_for_stage()
    started.process.kill()
    started.process.communicate()
    wait_until(lambda: not running(children), 20)
    wait_until(lambda: started.left_behind() == [], 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_comparison_in_good_order(name, tmp_path):
    (tmp_path / "e.toml").write_text(
        'operator = "gemm"\nshapes = ["16x16x16"]\nkernels = ["slow_stages"]\nsearcher = "random"\n'
        "threads = 1\nbaselines = false\n[budget]\ntrials = 8\n[final]\nrounds = 5\n"
    )
    number = getattr(signal, name)
    started = Started(tmp_path, "running", ["-m", "tuner", "compare", "e.toml", "--json"])
    ends_in_good_order(started, number, lambda: started.process.send_signal(number))


LOOP = """
import tuner
for n in (16, 24, 32):
    print("begins", n, flush=True)
    tuner.tune("gemm", f"{n}x{n}x{n}", kernels=["slow_stages"], searcher="random", trials=8, threads=1,
               baselines=False, rounds=ROUNDS)
"""


@pytest.mark.parametrize(
    "stage", ["running", *(pytest.param(s, marks=pytest.mark.slow) for s in ("building", "final"))]
)
def test_ctrl_c_ends_a_loop_of_tune(stage, tmp_path):
    started = Started(tmp_path, stage, ["-c", LOOP.replace("ROUNDS", "25" if stage == "final" else "0")])
    children = started.wait_for_stage()
    started.process.send_signal(signal.SIGINT)
    out, err = started.process.communicate(timeout=60)
    assert out.split() == ["begins", "16"], out
    assert "KeyboardInterrupt" in err.splitlines()[-1] and "is stored" in err
    assert started.statuses() == ["finished" if stage == "final" else "interrupted"]
    wait_until(lambda: not running(children), 20)
    assert started.left_behind() == []


def test_a_sweep_that_an_error_ends_can_be_resumed(tmp_path):
    """A closed pipe, a full disk, a defect: nobody works on it any more, so it is not `running`."""
    import tuner
    from tuner.engine.tuning.observer import Observer

    class Fails(Observer):
        def trial_done(self, event):
            raise BrokenPipeError

    db = str(tmp_path / "x.db")
    with pytest.raises(BrokenPipeError):
        tuner.tune("gemm", "8x8x8", kernels=["cpp_naive"], trials=3, threads=1, baselines=False, rounds=0,
                   db=db, observer=Fails())  # fmt: skip
    with open_store(db, read_only=True) as store:
        assert [(s.status, s.trials) for s in store.sweeps()] == [("interrupted", 1)]
