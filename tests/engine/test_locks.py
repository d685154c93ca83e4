"""Locks: who measures is alone, and nothing that was planted in a common folder is followed or touched."""

import fcntl
import os
import socket
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tuner.core.errors import TunerError
from tuner.engine.processes import locks, waiting
from tuner.engine.processes.locks import LocksNotShared, building, lock_name, measuring

DEVICE = "a device of the tests"
IS_ROOT = os.getuid() == 0


@pytest.fixture(autouse=True)
def common(tmp_path, monkeypatch):
    """A folder for all users and a temporary directory, both of this test alone."""
    folder, temporary = tmp_path / "common", tmp_path / "temporary"
    for each in (folder, temporary):
        each.mkdir()
        each.chmod(0o1777)
    monkeypatch.setattr(locks, "COMMON_FOLDERS", (folder,))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("TUNER_LOCKS", raising=False)
    return folder


def is_free(path: Path, operation: int) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def own(name: str = DEVICE) -> Path:
    return locks.own_folder() / lock_name(name)


def test_measuring_is_alone_and_builds_go_together(common):
    with measuring(DEVICE):
        for path in (own(), common / lock_name(DEVICE)):
            assert not is_free(path, fcntl.LOCK_SH)
    with building(DEVICE), building(DEVICE):
        for path in (own(), common / lock_name(DEVICE)):
            assert is_free(path, fcntl.LOCK_SH) and not is_free(path, fcntl.LOCK_EX)
    assert is_free(own(), fcntl.LOCK_EX)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_rights_are_what_they_should_be_whatever_the_umask_and_it_stays(umask, common):
    before = os.umask(umask)
    try:
        with measuring(DEVICE):
            pass
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    # Others may open it, and nobody may write to it.
    assert (common / lock_name(DEVICE)).stat().st_mode & 0o7777 == 0o444
    assert own().parent.stat().st_mode & 0o077 == 0


def test_nothing_in_the_lab_touches_the_umask():
    """It belongs to the whole process: a thread that swaps it swaps it for the caller's threads too."""
    root = Path(locks.__file__).parents[1]
    assert [p.name for p in root.rglob("*.py") if "umask(" in p.read_text()] == []


def plant_symlink(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def plant_dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("made_by_following"))


def plant_fifo(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def plant_folder(path: Path, victim: Path) -> None:
    path.mkdir()


def plant_socket(path: Path, victim: Path) -> None:
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # the whole path may be too long for a socket


PLANTS = [plant_symlink, plant_dangling, plant_fifo, plant_folder, plant_socket]


@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_in_the_common_folder_is_not_followed_and_said(plant, common, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    plant(common / lock_name(DEVICE), victim)
    with pytest.warns(LocksNotShared, match=lock_name(DEVICE)), measuring(DEVICE):
        assert not is_free(own(), fcntl.LOCK_SH), "this user's processes exclude each other all the same"
        assert is_free(victim, fcntl.LOCK_EX)
    assert victim.read_text() == "precious" and victim.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "made_by_following").exists()


@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_for_the_own_folder_is_refused_by_name(plant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    victim.mkdir(0o700)
    place = tmp_path / "temporary" / f"kernel-tuner-lab-{os.getuid()}"
    plant(place, victim)
    if plant is plant_folder:
        place.chmod(0o777)
    with pytest.raises(TunerError, match=f"{place.name} is ") as caught, measuring(DEVICE):
        pass
    assert "\n" not in str(caught.value)
    assert list(victim.iterdir()) == []


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a file to another user")
def test_another_users_folder_is_refused_and_another_users_lock_is_shared(common):
    place = locks.own_folder()
    os.chown(place, 12345, 12345)
    with pytest.raises(TunerError, match="belongs to user 12345"), measuring(DEVICE):
        pass
    os.chown(place, os.getuid(), -1)
    path = common / lock_name(DEVICE)
    path.touch(0o444)
    os.chown(path, 12345, 12345)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with measuring(DEVICE):
            assert not is_free(path, fcntl.LOCK_SH)


LOCK_AS = """
import os, sys, tempfile, warnings
from pathlib import Path
from tuner.engine.processes import locks  # before: the other user may be unable to read Python's own files
os.setgroups([]); os.setgid(54321); os.setuid(54321); os.umask(0o077)
os.environ.pop("XDG_RUNTIME_DIR", None)
tempfile.tempdir = sys.argv[2]
locks.COMMON_FOLDERS = (Path(sys.argv[1]),)
warnings.simplefilter("error")
with locks.measuring(sys.argv[3]):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_two_users_exclude_each_other(common, tmp_path):
    """Whoever is first, with a closed umask: the other one can open the lock."""
    for folder in [tmp_path, *tmp_path.parents]:
        if not folder.stat().st_mode & 0o001:  # pytest's own, and those of its workers
            folder.chmod(folder.stat().st_mode | 0o055)
    command = [sys.executable, "-c", LOCK_AS, str(common), str(tmp_path / "temporary"), DEVICE]
    for mine_first in (False, True):
        (common / lock_name(DEVICE)).unlink(missing_ok=True)
        if mine_first:
            with building(DEVICE):
                pass
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "locked\n"
            assert not is_free(common / lock_name(DEVICE), fcntl.LOCK_SH)
            other.communicate("")
        assert other.returncode == 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with measuring(DEVICE):
                pass


def test_the_runtime_folder_of_the_session_is_taken_if_it_is_ones_own(tmp_path, monkeypatch):
    runtime = tmp_path / "runtime"
    runtime.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert locks.own_folder() == runtime
    runtime.chmod(0o755)
    assert locks.own_folder() == tmp_path / "temporary" / f"kernel-tuner-lab-{os.getuid()}"


def test_locks_of_a_folder_of_ones_own_wait_for_others_and_hold_up_none(common, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.mkdir(0o700)
    monkeypatch.setenv("TUNER_LOCKS", str(mine))
    with measuring(DEVICE):
        assert not is_free(mine / lock_name(DEVICE), fcntl.LOCK_SH)
        for path in (own(), common / lock_name(DEVICE)):
            assert is_free(path, fcntl.LOCK_SH) and not is_free(path, fcntl.LOCK_EX)
    with building(DEVICE):
        assert is_free(mine / lock_name(DEVICE), fcntl.LOCK_SH)
    mine.chmod(0o755)
    with (
        pytest.raises(TunerError, match=r"TUNER_LOCKS=.*mine is open to other users .*700"),
        measuring(DEVICE),
    ):
        pass


HOLD = """
import sys, tempfile
from pathlib import Path
from tuner.engine.processes import locks
tempfile.tempdir = sys.argv[2]
locks.COMMON_FOLDERS = (Path(sys.argv[1]),)
with locks.measuring(sys.argv[3]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_who_waits_says_once_for_whom(common, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "_said", set())
    monkeypatch.setattr(locks, "telling", lambda descriptor: waiting.telling(descriptor, 0.05))
    address = "postgresql://user:secret@host/db"
    command = [sys.executable, "-c", HOLD, str(common), str(tmp_path / "temporary"), DEVICE, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        end = threading.Timer(0.6, other.stdin.close)
        end.start()
        for build in (building, measuring):
            with build(DEVICE):
                pass
        end.join()
    out, err = capsys.readouterr()
    assert out == "" and err.count("waiting for the device") == len(err.splitlines()) == 1
    assert "secret" not in err
    if Path("/proc/locks").exists():
        assert f"process {other.pid} ({sys.executable}" in err


def test_of_its_own_builds_a_process_says_nothing(common, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "_said", set())
    monkeypatch.setattr(locks, "telling", lambda descriptor: waiting.telling(descriptor, 0.05))
    if not Path("/proc/locks").exists():
        pytest.skip("who holds a lock is not known here")
    with ThreadPoolExecutor(1) as pool:
        with building(DEVICE):
            measured = pool.submit(_measure_nothing)
            with pytest.raises(TimeoutError):
                measured.result(0.3)
        measured.result(10)
    assert capsys.readouterr().err == ""


def _measure_nothing():
    with measuring(DEVICE):
        pass
