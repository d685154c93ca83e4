"""What the machine did is told apart from what a candidate did, and is never a fact about a configuration."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.machine import SWEEP, mounted, tuner
from tests.engine.planted import MISBEHAVIOURS, planted
from tuner import registry
from tuner.core.disturbance import is_disturbed
from tuner.core.errors import BuildError, MachineFault
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.engine.building import build_process
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.processes import machine_faults, zygote
from tuner.engine.processes.channel import Channel
from tuner.engine.processes.limits import Limits
from tuner.engine.processes.workers import Warm, Workers
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.sweep import Sweep
from tuner.store.store import open_store

__all__ = ["mounted"]

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")
QUICK = Protocol(threads=1, budget_s=0.02, run_timeout_s=20.0)


# The rules

MACHINE_ERRORS = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENFILE, "Too many open files in system"),
    OSError(errno.EROFS, "Read-only file system"),
    BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    RuntimeError("can't start new thread"),
    MachineFault("the compiler is gone"),
]


@pytest.mark.parametrize("error", MACHINE_ERRORS, ids=str)
def test_an_error_of_the_machine_is_seen_through_what_wraps_it(error: Exception) -> None:
    assert machine_faults.of_exception(error)
    with pytest.raises(BuildError) as caught:
        try:
            raise error
        except Exception:
            raise BuildError("it does not compile") from None
    assert machine_faults.of_exception(caught.value)
    assert build_process._failure(caught.value)["status"] == "environment"


CANDIDATE_ERRORS = [
    ValueError("bad"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "/home/somebody/missing.h"),
    MemoryError(),
    BuildError("kernel.cpp:3:2: error: #error No space left on device"),
    BuildError("kernel.cpp:3:2: error: static assertion failed: Too many open files"),
    BuildError("c++: fatal error: no input files"),
    OSError(errno.EFBIG, "File too large"),
]


@pytest.mark.parametrize("error", CANDIDATE_ERRORS, ids=str)
def test_an_error_of_the_candidate_stays_its_own(error: Exception) -> None:
    assert machine_faults.of_exception(error) is None
    assert build_process._failure(error)["status"] == "build_error"


@pytest.mark.parametrize(
    ("said", "passing"),
    [
        ("kernel.cpp:9:1: fatal error: error writing to /tmp/x.s: No space left on device", False),
        ("/usr/bin/ld: final link failed: No space left on device", False),
        ("Assembler messages:\nFatal error: can't close kernel.o: Disk quota exceeded", False),
        ("LLVM ERROR: IO failure on output stream: No space left on device", False),
        ("g++: fatal error: cannot execute 'cc1plus': execvp: No such file or directory", False),
        ("g++: fatal error: cannot execute \u2018cc1plus\u2019: execvp: No such file or directory", False),
        ("cc1plus: error while loading shared libraries: libisl.so.23: cannot open shared object", False),
        ("g++: fatal error: Killed signal terminated program cc1plus\ncompilation terminated.", True),
    ],
)
def test_what_compilers_only_say(said: str, passing: bool) -> None:
    fault = machine_faults.of_output(said)
    assert fault is not None and fault.passing is passing
    assert build_process._failure(BuildError(said))["status"] == "environment"


@pytest.mark.parametrize("number", list(signal.Signals), ids=lambda s: s.name)
def test_signals_that_others_send_and_those_that_code_raises(number: signal.Signals) -> None:
    others = number.name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT")
    assert bool(machine_faults.of_exit(-number)) is others
    assert machine_faults.of_exit(1) is None
    # Ctrl-C reaches workers too, and has nothing to do with memory.
    fault = machine_faults.of_exit(-number)
    assert fault is None or ("out of memory" in fault.reason) == (number == signal.SIGKILL)


def test_a_wrong_compiler_call_of_each_kind(tmp_path: Path) -> None:
    from tuner.core.host_cxx import run_compiler

    for place, command in ((tmp_path, "/nowhere/g++"), (tmp_path / "gone", "/bin/true")):
        with pytest.raises(MachineFault, match="cannot be started"):
            run_compiler([command], place)


# During a sweep


def run(store: Any, kernel: Any, trials: int, observer: Observer | None = None, **options: Any) -> Any:
    with Workshop(campaign.default_device(), QUICK, seed=3, jobs=1) as workshop:
        request = SweepRequest(kernel, WORKLOAD, "random", 5, Budget(trials=trials), **options)
        return Sweep(request, workshop, store, observer or Observer(), None).run()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    with open_store(str(tmp_path / "results.db")) as made:
        yield made


def test_space_that_runs_out_stops_the_sweep_and_the_rest_is_measured_later(
    mounted: Any, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mounted("size=48m")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))

    class Filler(Observer):
        def trial_done(self, event: Any) -> None:
            try:
                (folder / "filler").write_bytes(bytes(64 * 2**20))
            except OSError as error:
                assert error.errno == errno.ENOSPC

    kernel = planted(tmp_path, "mixed", values=str(list(range(12))))
    with pytest.raises(MachineFault, match=r"No space left on device.*TMPDIR.*--resume"):
        run(store, kernel, 12, Filler())
    kept = store.count()
    assert 0 < kept < 12
    (folder / "filler").unlink()
    result = run(store, kernel, 12, resume=True)
    assert result.statuses == {"ok": 12}


class _Killing(Workers):
    """Ends what a test says, as somebody else would, just before it is waited for."""

    kind = ""
    times = 0

    def receive(self, child: Any, timeout: float) -> Any:
        if self.times and self._matches(child):
            type(self).times -= 1
            if "zygote" in self.kind:
                for warm in list(self._zygotes.values()):
                    if self._is_run(warm) == ("run" in self.kind):
                        warm._process.kill()
                        warm._process.wait()
            else:
                number = signal.SIGKILL if self.kind != "build by SIGTERM" else signal.SIGTERM
                os.kill(self._victim(child).pid, number)
        return super().receive(child, timeout)

    def _matches(self, child: Any) -> bool:
        if self.kind.startswith("build") or self.kind == "zygote of builds":
            return self.made.get(child) == "build"
        # Only the judge is waited for, and it is judging while there is a runner that is not ended yet.
        return self.made.get(child) == "judge" and bool(self.running)

    def _victim(self, child: Any) -> Any:
        return self.running.pop() if self.kind == "run child" else child

    def _is_run(self, process: Any) -> bool:
        return any(
            process is z and "tuner.engine.candidate.device_jobs" in modules
            for modules, z in self._zygotes.items()
        )

    def start(self, warm: Warm, function: Any, payload: Any, limits: Limits) -> Any:
        child = super().start(warm, function, payload, limits)
        names = {"build_job": "build", "judge_job": "judge", "runner_job": "run"}
        self.made[child] = names.get(function.__name__, "")
        if self.made[child] == "run":
            self.running[:] = [child]
        return child

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.made: dict[Any, str] = {}
        self.running: list[Any] = []


KINDS = ["build child", "build by SIGTERM", "run child", "judge", "zygote of builds", "zygote of runs"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(3)
def test_what_somebody_killed_once_is_tried_once_more(
    kind: str, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.engine.candidate.workshop.Workers", _Killing)
    monkeypatch.setattr(_Killing, "kind", kind)
    monkeypatch.setattr(_Killing, "times", 1)
    result = run(store, planted(tmp_path, "right", values="[0, 1]"), 2)
    assert result.statuses == {"ok": 2}
    assert _Killing.times == 0


@pytest.mark.parametrize("kind", ["build child", "run child"])
def test_what_is_killed_twice_is_the_machines_and_is_measured_again(
    kind: str, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tuner.engine.candidate.workshop.Workers", _Killing)
        patch.setattr(_Killing, "kind", kind)
        patch.setattr(_Killing, "times", 2)
        kernel = planted(tmp_path, "right", values="[0, 1]")
        first = run(store, kernel, 2)
    assert sorted(first.statuses.items()) == [("environment", 1), ("ok", 1)]
    assert "SIGKILL" in next(t.measurement.error for t in first.trials if not t.measurement.ok)
    assert store.history("right", "gemm")[0].observations[0].measurement.ok
    assert len(store.history("right", "gemm")[0].observations) == 1
    second = run(store, kernel, 2)
    assert second.statuses == {"ok": 2}
    # A time of a busy machine is not reused either.
    fit = [t for t in first.trials if t.measurement.ok and not is_disturbed(t.measurement.metrics)]
    assert store.sweep(second.sweep_id).reused == len(fit)


def test_a_machine_that_kills_everything_stops_the_sweep(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.engine.candidate.workshop.Workers", _Killing)
    monkeypatch.setattr(_Killing, "kind", "build child")
    monkeypatch.setattr(_Killing, "times", 100)
    with pytest.raises(MachineFault, match=r"3 candidates in a row.*SIGKILL"):
        run(store, planted(tmp_path, "right", values="[0, 1, 2, 3, 4]"), 5)
    (sweep,) = store.sweeps()
    assert (sweep.status, dict(sweep.statuses)) == ("interrupted", {"environment": 3})


def echo_job(payload: Any, channel: Channel) -> None:
    channel.send(payload)


def refuse_once() -> None:
    fork, refusals = os.fork, [1]

    def refusing() -> int:
        if refusals.pop() if refusals else 0:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    os.fork = refusing


def test_a_fork_that_is_refused_takes_nothing_else_with_it(tmp_path: Path) -> None:
    warm = Warm(("tests.engine.test_machine_faults",), refuse_once)
    workers = Workers(tmp_path)
    with pytest.raises(MachineFault, match="ulimit -u") as caught:
        workers.ask(warm, echo_job, 1, Limits(), 30)
    assert caught.value.passing
    assert workers.ask(warm, echo_job, 2, Limits(), 30) == 2
    workers.close()


def test_children_that_we_end_are_nobodys_fault(tmp_path: Path) -> None:
    from tuner.engine.processes.workers import ChildLost

    workers = Workers(tmp_path)
    child = workers.start(Warm(("tests.engine.test_machine_faults",)), hold_job, None, Limits())
    stopper = threading.Timer(0.2, workers.stop)
    stopper.start()
    with pytest.raises(ChildLost) as caught:
        workers.receive(child, 30)
    assert caught.value.fault is None
    stopper.join()
    workers.close()


def hold_job(payload: Any, channel: Channel) -> None:
    channel.receive()


def test_no_misbehaviour_of_a_kernel_looks_like_the_machine() -> None:
    for name, (_, status, word) in MISBEHAVIOURS.items():
        assert machine_faults.of_stored(Status(status), f"run: died of {word}") is None, name


def test_who_was_called_a_liar_for_one_request_can_be_forgotten() -> None:
    said = "its calls took 0.46 s by the lab's clock, it says 0.000468 s"
    assert machine_faults.of_stored(Status.WRONG_RESULT, f"gemm/f32/m64-n64-k64: {said}")
    assert machine_faults.of_stored(Status.WRONG_RESULT, f"gemm/f32/m64-n64-k64: each time {said}") is None
    assert machine_faults.of_stored(Status.WRONG_RESULT, "D[0, 0] is 1, not 2") is None


# What was all wrong


def test_nothing_right_says_why_and_is_no_success(tmp_path: Path) -> None:
    planted(tmp_path, "aborts", "std::abort();", values="[0, 1, 2]")
    done = tuner([*SWEEP, "--kernel=aborts", "--trials=3"], tmp_path, TUNER_PLUGINS=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "nothing of aborts was right: 3 of 3 ended as crash" in done.stderr
    assert "nothing was right" in done.stdout
    script = """
import tuner
from tuner.core.errors import TunerError
try: tuner.tune("gemm", "32x32x32", kernels=["aborts"], trials=2, rounds=0, baselines=False, db="other.db")
except TunerError as error: print(error, error.outcome.sweeps["aborts"].statuses)
"""
    environment = {**os.environ, "TUNER_PLUGINS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "2 of 2 ended as crash" in done.stdout and "{'crash': 2}" in done.stdout, done.stderr


def test_zygote_death_says_by_what(tmp_path: Path) -> None:
    process = zygote.Zygote((), tmp_path)
    process.wait_ready()
    process._process.kill()
    with pytest.raises(zygote.ZygoteDied, match="killed by SIGKILL"):
        process.start(echo_job, 1)
    process.close()
