"""How candidates are shared out among the builds that run side by side."""

import threading

import pytest

from tuner import registry
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.core.target import Target
from tuner.engine.building.build_stage import BuildRequest, BuildStage, Built
from tuner.engine.processes import locks

KERNEL = registry.kernel("cpp_naive")
WORKLOAD = registry.operator("gemm").parse("8x8x8")


class _Scripted:
    """In place of `Workers`: builds that do what a test says."""

    def __init__(self, build):
        self.build = build
        self.stopped = threading.Event()
        self.dismissed = 0

    def start(self, warm, function, payload, limits):
        self.begins()
        return object()

    def begins(self):
        """Whatever a test has to say of a child that starts."""

    def converse(self, child, question, timeout):
        return {"status": "build_error", "error": str(self.build(question["config"]["n"])), "build_s": 0.0}

    def dismiss(self, child):
        self.dismissed += 1

    def stop(self):
        self.stopped.set()


def stage(build, folder, jobs, device=None):
    """By default of a device that builds do not disturb."""
    return BuildStage(_Scripted(build), folder, Target("cpu", "cpu"), Protocol(), jobs, device)


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
    """The second build waits until the first was taken."""
    taken, begun = threading.Event(), threading.Event()

    def build(n):
        if n:
            begun.set()
        return n if not n or taken.wait(20) else "stuck"

    each = stage(build, tmp_path, 2).build_each(requests(3))
    assert next(each).error == "0" and begun.wait(20)
    taken.set()
    assert [b.error for b in each] == ["1", "2"]


def test_beside_what_builds_disturb_nothing_is_built(tmp_path):
    """All of them are there, and the device is anybody's, before the first is given to be measured."""
    begun = []
    builds = stage(begun.append, tmp_path, 2, "test device")
    builds.build_ahead(requests(3))
    assert not begun
    each = builds.build_each(requests(6))
    with locks.measuring("test device"):
        assert len(begun) == 6 and len(list(each)) == 6


def test_what_is_kept_is_given_in_place_of_a_build_and_only_once(tmp_path):
    begun = []
    builds = stage(begun.append, tmp_path, 2)
    asked = requests(3)
    folders = [tmp_path / name for name in ("kept", "again", "left")]
    for folder, request in zip(folders, (asked[1], asked[1], asked[2]), strict=True):
        folder.mkdir()
        builds.keep(request, Built(Status.OK, folder=folder))
    assert [folder.exists() for folder in folders] == [True, False, True]
    given = builds.build_all(asked[:2])
    assert [each.folder for each in given] == [None, folders[0]] and begun == [0]
    builds.build_all(asked[1:2])
    assert begun == [0, 1]
    builds.stop()
    assert not folders[2].exists()


def test_a_measurement_waits_for_the_builds_under_way(tmp_path):
    under_way, measured, go_on = threading.Event(), threading.Event(), threading.Event()

    def build(n):
        under_way.set()
        return n if go_on.wait(20) else "stuck"

    def measure():
        with locks.measuring("test device"):
            measured.set()

    builds = stage(build, tmp_path, 2, "test device")
    builder = threading.Thread(target=lambda: builds.build_each(requests(3)))
    builder.start()
    assert under_way.wait(20)
    device = threading.Thread(target=measure)
    device.start()
    assert not measured.wait(0.2)
    go_on.set()
    assert measured.wait(20)
    builder.join()
    device.join()


def test_what_is_built_ahead_is_built_once_and_given_in_its_place(tmp_path):
    begun, all_there = [], threading.Event()

    def build(n):
        begun.append(n)
        if len(begun) == 2:
            all_there.set()
        return n

    builds = stage(build, tmp_path, 2)
    asked = requests(4)
    builds.build_ahead([asked[3], asked[1]])
    assert all_there.wait(20)
    assert [b.error for b in builds.build_each(asked)] == ["0", "1", "2", "3"]
    assert sorted(begun) == [0, 1, 2, 3]
    # It is given once: the next who asks has a build of their own, whose files nobody else removes.
    assert builds.build_all(asked[3:])[0].error == "3" and begun.count(3) == 2


def test_what_was_built_ahead_and_never_asked_for_ends_with_the_stage(tmp_path):
    begun, under_way = [], threading.Barrier(3)

    def build(n):
        begun.append(n)
        under_way.wait(20)
        assert builds._workers.stopped.wait(20)
        return n

    builds = stage(build, tmp_path, 2)
    builds.build_ahead(requests(6))
    under_way.wait(20)
    builds.stop()
    assert sorted(begun) == [0, 1] and not builds._idle


def test_a_child_that_starts_while_builds_are_ended_builds_nothing(tmp_path):
    """As after Ctrl-C while TVM is imported: there was no child to end when all were."""
    starting, stopped = threading.Event(), threading.Event()

    def begins():
        starting.set()
        assert stopped.wait(20)

    late = stage(lambda n: pytest.fail("it was built"), tmp_path, 2)
    late._workers.begins = begins
    late.build_ahead(requests(1))
    assert starting.wait(20)
    late._workers.stop = stopped.set
    late.stop()
    assert late._workers.dismissed == 1


def test_who_stops_taking_ends_the_builds_under_way(tmp_path):
    begun, all_there = [], threading.Barrier(3)

    def build(n):
        begun.append(n)
        if n:
            all_there.wait(20)
            assert left._workers.stopped.wait(20)
        return n

    left = stage(build, tmp_path, 2)
    each = left.build_each(requests(6))
    assert next(each).error == "0"
    all_there.wait(20)
    each.close()
    # What the two lanes were at has ended, and they take nothing more.
    assert sorted(begun) == [0, 1, 2] and not left._idle


def test_nothing_to_build_is_no_error(tmp_path):
    assert stage(int, tmp_path, 2).build_all([]) == []
