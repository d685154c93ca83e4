"""What a kernel forked: it hides no crash, and nothing of it computes when the next candidate is measured."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.planted import planted
from tests.processes import noted, wait_until
from tuner import registry
from tuner.core.descendants import children_of, descendants_of
from tuner.core.measurement import Measurement, Status
from tuner.core.protocol import Protocol
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging.asked_runner import is_younger
from tuner.engine.tuning.campaign import default_device

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="orphans are found on Linux only"
)

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("16x16x16")
SPIN = "for (volatile int i = 0;; i = 0) {}"
NOTE = 'std::FILE* f = std::fopen("PIDS", "a"); std::fprintf(f, "%d\\n", getpid()); std::fclose(f);'

# How a kernel leaves a process behind: (what it runs, the status it ends with).
LEAVES = {
    "crash_with_a_live_fork": ("if (!fork()) { NOTE SPIN } usleep(50000); *(volatile int*)8 = 1;", "crash"),
    "exit_with_a_live_fork": ("if (!fork()) { NOTE SPIN } usleep(50000); std::exit(3);", "crash"),
    "fork": ("static int once = fork(); if (!once) { NOTE SPIN } usleep(1000); RIGHT", "wrong_result"),
    "setsid": (
        "static int once = fork(); if (!once) { setsid(); NOTE SPIN } usleep(1000); RIGHT",
        "wrong_result",
    ),
    "daemon": (
        "static int once = fork(); if (!once) { setsid(); if (fork()) std::_Exit(0); setsid(); NOTE SPIN }"
        " usleep(1000); RIGHT",
        "wrong_result",
    ),
    "crash_with_a_daemon": (
        "if (!fork()) { setsid(); if (fork()) std::_Exit(0); setsid(); NOTE SPIN } usleep(50000);"
        " *(volatile int*)8 = 1;",
        "crash",
    ),
    "time_out_with_a_daemon": (
        "static int once = fork(); if (!once) { setsid(); if (fork()) std::_Exit(0); NOTE SPIN } SPIN",
        "run_timeout",
    ),
}  # fmt: skip

# Returns 9 if a process that was noted still runs; one that has ended and waits to be collected does not.
ASKS = """
  std::FILE* noted = std::fopen("PIDS", "r");
  for (int pid; noted && std::fscanf(noted, "%d", &pid) == 1;) {
    char name[64], state = 'Z';
    std::snprintf(name, sizeof name, "/proc/%d/stat", pid);
    if (std::FILE* f = std::fopen(name, "r")) { std::fscanf(f, "%*d (%*[^)]) %c", &state); std::fclose(f); }
    if (state != 'Z' && state != 'X') return 9;
  }
  if (noted) std::fclose(noted);
  RIGHT
"""


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    protocol = Protocol(threads=1, memory_bytes=2**29, run_timeout_s=4.0, budget_s=0.02)
    with Workshop(default_device("cpu"), protocol, seed=7) as made:
        made.prepare(GEMM, WORKLOAD)
        yield made


def kernel_that(folder: Path, name: str, body: str, pids: Path):
    body = body.replace("NOTE", NOTE.replace("PIDS", str(pids))).replace("SPIN", SPIN)
    body = body.replace("RIGHT", "right(A, B, D, m, n, k);")
    planted(folder, name, body)
    path = folder / f"{name}.cpp"
    path.write_text(path.read_text().replace("#include <cstdint>", "#include <cstdint>\n#include <unistd.h>"))
    return registry.source_kernel(path)


def measure(workshop: Workshop, kernel) -> Measurement:
    built = workshop.build(kernel, WORKLOAD, {"UNUSED": 0})
    try:
        return workshop.measure(WORKLOAD, built, None, None)
    finally:
        built.discard()


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.sampled(4)
def test_what_a_kernel_leaves_is_ended_before_the_next_measurement(name, workshop, tmp_path):
    body, status = LEAVES[name]
    pids = tmp_path / "pids"
    began = time.monotonic()
    outcome = measure(workshop, kernel_that(tmp_path, name, body, pids))
    assert outcome.status == status, outcome.error
    if status == "crash":
        # At once, by the child's own end: what it forked holds its socket open.
        assert "no result within" not in outcome.error
        assert outcome.run_s < workshop.protocol.run_timeout_s
    assert pids.exists(), "the kernel forked nothing"
    # The next candidate's kernel asks, at its first call, whether the last one's process is still there.
    next_one = kernel_that(tmp_path, "next_one", ASKS.replace("PIDS", str(pids)), pids)
    after = measure(workshop, next_one)
    assert after.status is Status.OK, after.error
    assert noted(pids) == []
    assert time.monotonic() - began < 60


def test_a_paused_finalist_has_no_daemon_beside_the_others(workshop, tmp_path):
    pids = tmp_path / "pids"
    built = workshop.build(
        kernel_that(tmp_path, "daemon", LEAVES["daemon"][0], pids), WORKLOAD, {"UNUSED": 0}
    )
    child = workshop.serve(WORKLOAD, built)
    try:
        assert "processes of its own" in child.channel.receive(30)["error"]
        wait_until(pids.exists, 10)
        child.pause()
        wait_until(lambda: not noted(pids), 10)
    finally:
        child.kill()
        child.wait()
        built.discard()


@pytest.mark.parametrize(
    ("pid", "began", "younger"),
    [(501, 7, True), (499, 7, False), (500, 7, False), (501, 6, False), (499, 8, True), (3, 7, True)],
)
def test_within_one_tick_of_the_clock_the_process_ids_tell_who_came_first(pid, began, younger, monkeypatch):
    """A kernel forks in the tick in which its runner started, where everything is warm."""
    monkeypatch.setattr("tuner.engine.judging.asked_runner._PIDS", 600)
    assert is_younger(pid, began, 500, 7) is younger


def test_a_zygote_that_is_killed_takes_its_children_and_their_forks_along(workshop, tmp_path):
    pids = tmp_path / "pids"
    built = workshop.build(kernel_that(tmp_path, "fork", LEAVES["fork"][0], pids), WORKLOAD, {"UNUSED": 0})
    child = workshop.serve(WORKLOAD, built)
    assert "processes of its own" in child.channel.receive(30)["error"] and noted(pids)
    os.kill(child._child._zygote._process.pid, signal.SIGKILL)
    with pytest.raises(Exception, match="ended unexpectedly"):
        child._child.wait(30)
    wait_until(lambda: not noted(pids), 10)
    built.discard()
    assert measure(workshop, planted(tmp_path, "right_one")).status is Status.OK


def test_descendants_are_found_whatever_group_they_are_in():
    me = os.getpid()
    read, write = os.pipe()
    first = os.fork()
    if first == 0:
        os.setsid()
        second = os.fork()
        if second:
            os.write(write, str(second).encode())
        time.sleep(30)
        os._exit(0)
    try:
        second = int(os.read(read, 32))
        assert first in children_of(me)
        assert {first, second} <= set(descendants_of(me))
        assert second not in children_of(me)
    finally:
        os.killpg(first, signal.SIGKILL)
        os.waitpid(first, 0)
