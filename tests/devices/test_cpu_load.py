"""Readings of waiting, steal, quotas and throttling: of made-up file trees, and of this process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuner.core.disturbance import DISTURBED, others_share
from tuner.devices.cpu import load
from tuner.devices.cpu.device import CpuDevice


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_waiting_of_all_threads_is_added_up(tmp_path: Path) -> None:
    write(tmp_path, "proc/7/task/7/schedstat", "1000000000 200000000 5\n")
    write(tmp_path, "proc/7/task/8/schedstat", "3000000000 100000000 6\n")
    write(tmp_path, "proc/7/task/9/schedstat", "garbage\n")
    found = load.waits(2, 7, tmp_path)
    assert (found.ran_s, found.waited_s, found.arrivals) == (pytest.approx(4.0), pytest.approx(0.3), 11)
    assert found.cores == 2


def test_a_kernel_that_counts_no_waiting_disturbs_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc" / "7" / "task" / "7").mkdir(parents=True)
    before, after = (load.load_state([0], tmp_path, 7) for _ in range(2))
    assert after["cores"] == 0
    assert "others_share" not in load.load_conditions(before, after)


def test_times_of_the_pinned_processors_only(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    write(
        tmp_path, "proc/stat",
        "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 10 20 500 7 1 2 30 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n"
        "cpu10 5 0 0 0 0 0 0 4 0 0\nintr 1 2 3\n",
    )  # fmt: skip
    busy, steal = load.processor_times([0, 10], tmp_path)
    assert (busy * ticks, steal * ticks) == (pytest.approx(138), pytest.approx(34))
    assert load.processor_times([0], tmp_path / "nothing") == (0.0, 0.0)


V1 = "3:cpuset:/\n2:cpu,cpuacct:/job/step\n1:memory:/job\n0::/\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "quota", "held"),
    [
        # Version 2: an outer group's quota counts too.
        ("0::/a/b\n", {
            "a/b/cpu.max": "150000 100000", "a/b/cpu.stat": "nr_throttled 2\nthrottled_usec 5000\n",
            "a/cpu.max": "60000 100000", "a/cpu.stat": "nr_throttled 7\nthrottled_usec 20000\n",
            "cpu.stat": "usage_usec 1\n",
        }, 0.6, (7, 0.02)),
        ("0::/a\n", {"a/cpu.max": "max 100000", "a/cpu.stat": "nr_throttled 0\n"}, None, (0, 0)),
        # A container: the path is the host's, what is mounted is its own group.
        ("0::/docker/1234\n", {"cpu.max": "250000 100000", "cpu.stat": "nr_throttled 1\n"}, 2.5, (1, 0)),
        ("0::/../outside\n", {"cpu.max": "50000 100000", "cpu.stat": "nr_throttled 1\n"}, 0.5, (1, 0)),
        # Version 1.
        (V1, {
            "cpu,cpuacct/job/step/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/job/step/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/job/step/cpu.stat": "nr_periods 9\nnr_throttled 0\nthrottled_time 0\n",
            "cpu,cpuacct/job/cpu.cfs_quota_us": "120000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/job/cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 3000000000\n",
        }, 1.2, (4, 3.0)),
        ("1:cpu:/\n0::/\n", {
            "cpu/cpu.cfs_quota_us": "60000\n", "cpu/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.stat": "nr_throttled 397\n",
        }, 0.6, (397, 0)),
        ("1:cpu:/\n", {}, None, (0, 0)),
        ("garbage", {"cpu.max": "x y z"}, None, (0, 0)),
    ],
)  # fmt: skip
def test_quotas_and_throttling(
    tmp_path: Path, cgroup: str, files: dict[str, str], quota: float | None, held: tuple[float, float]
) -> None:
    write(tmp_path, "proc/self/cgroup", cgroup)
    for name, text in files.items():
        write(tmp_path, f"sys/fs/cgroup/{name}", text)
    assert load.cpu_quota(tmp_path) == quota
    assert load.throttled(tmp_path) == pytest.approx(held)


@pytest.mark.parametrize(
    ("quota", "threads"), [(None, 4), (0.6, 1), (1.0, 1), (1.9, 1), (2.0, 2), (3.7, 3), (64.0, 4)]
)
def test_default_threads_follow_the_quota(quota: float | None, threads: int) -> None:
    assert load.threads_within(quota, 4) == threads


def test_the_protocol_and_people_are_told_of_a_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.engine.tuning.campaign import default_protocol

    monkeypatch.setattr("tuner.devices.cpu.device.cpu_quota", lambda: 0.6)
    device = CpuDevice()
    monkeypatch.setattr(device, "_cpus", (0, 1, 2))
    assert default_protocol(device).threads == 1
    assert default_protocol(device, threads=2).threads == 2
    (remark,) = device.remarks(2)
    assert "0.6 CPUs of 3 cores" in remark and "throttled" in remark
    assert device.facts()["cpu_quota"] == 0.6
    monkeypatch.setattr("tuner.devices.cpu.device.cpu_quota", lambda: None)
    assert not device.remarks(3) and "cpu_quota" not in device.facts()


def test_metrics_of_a_trial() -> None:
    before = {"clock_s": 0.0, "waited_s": 0.0, "ran_s": 0.0, "arrivals": 0.0, "preemptions": 0.0, "cores": 2,
              "busy_s": 5.0, "steal_s": 1.0, "throttled_periods": 1.0, "throttled_s": 0.0}  # fmt: skip
    after = {**before, "clock_s": 1.0, "waited_s": 0.5, "ran_s": 1.0, "busy_s": 6.5, "steal_s": 1.2,
             "throttled_periods": 4.0, "throttled_s": 0.1}  # fmt: skip
    found = load.load_conditions(before, after)
    assert found == pytest.approx(
        {"others_share": 0.5, "preemptions": 0.0, "steal_share": 0.1, "others_busy_share": 0.25,
         "throttled_periods": 3.0, "throttled_s": 0.1}
    )  # fmt: skip
    # Ticks of 10 ms say nothing of 50 ms.
    short = load.load_conditions(before, {**after, "clock_s": 0.05, "ran_s": 0.05})
    assert "steal_share" not in short and short["others_share"] == 1.0


def test_who_shares_a_core_with_a_spinner_waits_for_it() -> None:
    core = min(os.sched_getaffinity(0))
    spin = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    program = f"""
import os, time
from tuner.devices.cpu.load import waits
from tuner.core.disturbance import others_share
os.sched_setaffinity(0, {{{core}}})
before, end = waits(1), time.perf_counter() + 0.5
while time.perf_counter() < end: pass
print(others_share(before, waits(1)))
"""
    spinner = subprocess.Popen([sys.executable, "-c", spin])
    try:
        time.sleep(0.2)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    finally:
        spinner.kill()
        spinner.wait()
    assert float(done.stdout) > DISTURBED
    device = CpuDevice()
    assert others_share(device.waits(), device.waits()) <= 1.0
