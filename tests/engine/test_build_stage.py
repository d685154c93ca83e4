"""How candidates are shared out among the builds that run side by side."""

import threading

import pytest

from tuner import registry
from tuner.core.protocol import Protocol
from tuner.core.target import Target
from tuner.engine.building.build_stage import BuildRequest, BuildStage
from tuner.engine.processes import locks

KERNEL = registry.kernel("cpp_naive")
WORKLOAD = registry.operator("gemm").parse("8x8x8")


class _Scripted:
    """In place of `Workers`: builds that do what a test says."""

    def __init__(self, build):
        self.build = build
        self.stopped = threading.Event()

    def start(self, warm, function, payload, limits):
        return object()

    def converse(self, child, question, timeout):
        return {"status": "build_error", "error": str(self.build(question["config"]["n"])), "build_s": 0.0}

    def dismiss(self, child):
        pass

    def stop(self):
        self.stopped.set()


def stage(build, folder, jobs):
    return BuildStage(_Scripted(build), folder, Target("cpu", "cpu"), Protocol(), jobs, "test device")


def requests(count):
    return [BuildRequest(KERNEL, WORKLOAD, {"n": n}) for n in range(count)]


@pytest.fixture(autouse=True)
def _own_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "COMMON_FOLDERS", (tmp_path,))
    tmp_path.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_nobody_waits_behind_a_long_build(tmp_path):
    """The first build ends only when all the others are done: the other lane has to take them all."""
    others = threading.Semaphore(0)

    def build(n):
        if n:
            others.release()
        elif not all(others.acquire(timeout=20) for _ in range(5)):
            return "stuck"
        return n

    built = stage(build, tmp_path, 2).build_all(requests(6))
    assert [b.error for b in built] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("at", [0, 1])
def test_an_error_of_ours_ends_the_builds_and_is_raised(tmp_path, at):
    """The other lane finishes what it is at and takes nothing more, whichever lane it is."""
    begun = []
    both = threading.Barrier(2)

    def build(n):
        begun.append(n)
        both.wait(20)
        if n == at:
            raise RuntimeError("no space left")
        assert failing._workers.stopped.wait(20)
        return n

    failing = stage(build, tmp_path, 2)
    with pytest.raises(RuntimeError, match="no space left"):
        failing.build_all(requests(6))
    assert sorted(begun) == [0, 1]
    # The other lane's child was ended too, after its answer: the next build must not be asked of it.
    assert not failing._idle


def test_what_is_built_is_given_while_later_ones_are_built(tmp_path):
    """For a device that builds do not disturb: the second build waits until the first was taken."""
    taken, begun = threading.Event(), threading.Event()

    def build(n):
        if n:
            begun.set()
        return n if not n or taken.wait(20) else "stuck"

    each = stage(build, tmp_path, 2).build_each(requests(3), beside=True)
    assert next(each).error == "0" and begun.wait(20)
    taken.set()
    assert [b.error for b in each] == ["1", "2"]


def test_who_stops_taking_ends_the_builds_under_way(tmp_path):
    begun, all_there = [], threading.Barrier(3)

    def build(n):
        begun.append(n)
        if n:
            all_there.wait(20)
            assert left._workers.stopped.wait(20)
        return n

    left = stage(build, tmp_path, 2)
    each = left.build_each(requests(6), beside=True)
    assert next(each).error == "0"
    all_there.wait(20)
    each.close()
    # What the two lanes were at has ended, and they take nothing more.
    assert sorted(begun) == [0, 1, 2] and not left._idle


def test_nothing_to_build_is_no_error(tmp_path):
    assert stage(int, tmp_path, 2).build_all([]) == []
