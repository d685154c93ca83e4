"""Processes that descend from this one: found and ended, those that left their group and parent included.

A kernel may fork; what it forks may call `setsid` and so escape `killpg`, and may outlive its parent. A
process that is a *subreaper* (prctl(2), Linux) becomes the parent of such orphans in place of init: it finds
them among its own children. What this cannot find: a process that somebody else started on the kernel's
behalf (cron, systemd, a container engine), and what is left after the subreaper itself was killed with
SIGKILL. What copies itself faster than it is killed (a fork bomb) is fought for `_ROUNDS` rounds at a time.

Standard library only, and little of it: `_supervisor.py` is started without site-packages, for each check.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_ROUNDS = 50
_ROUND_S = 0.01


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def become_subreaper() -> None:
    """From now on orphans among the descendants become children of this process; nothing off Linux."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """The kernel ends this process when the thread that forked it ends; at once if it has ended already.

    Args:
        parent: its process id, read before the fork.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def children_of(pid: int) -> set[int]:
    """The children of a process and of each of its threads, zombies included; empty where it has gone."""
    found: set[int] = set()
    try:
        with os.scandir(f"/proc/{pid}/task") as threads:
            names = [thread.path for thread in threads]
    except OSError:
        return found
    for name in names:
        try:
            with open(f"{name}/children", "rb", buffering=0) as file:  # noqa: PTH123 (twice as fast; and pathlib takes 5 ms to import)
                found.update(map(int, file.read().split()))
        except FileNotFoundError:
            if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):  # noqa: PTH110
                return _children_by_parent(pid)  # a kernel without CONFIG_PROC_CHILDREN
        except OSError:
            pass  # the thread has ended
    return found


def _children_by_parent(pid: int) -> set[int]:
    found = set()
    with os.scandir("/proc") as entries:
        numbers = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for number in numbers:
        try:
            with open(f"/proc/{number}/stat", "rb") as file:  # noqa: PTH123
                # proc(5): state and parent follow the command, which may hold anything, in parentheses.
                parent = file.read().rpartition(b")")[2].split()[1]
        except (OSError, IndexError):
            continue
        if int(parent) == pid:
            found.add(number)
    return found


def descendants_of(pid: int) -> Iterator[int]:
    """Children, their children, and so on."""
    seen, waiting = {pid}, [pid]
    while waiting:
        for child in children_of(waiting.pop()) - seen:
            seen.add(child)
            waiting.append(child)
            yield child


def signal_outside_group(group: int, number: signal.Signals) -> None:
    """Signals the descendants of a group's leader that have left its group; the group has had its own."""
    for pid in list(descendants_of(group)):
        try:
            if os.getpgid(pid) != group:
                os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it ended, or is another user's program


def kill_quietly(pid: int) -> None:
    """SIGKILL to a process and, if it leads one, its group."""
    for end in (os.killpg, os.kill):
        try:
            end(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it leads no group, or ended by itself


def end_strays(known: Collection[int]) -> None:
    """Kills and reaps this process's children that are not `known`, until none is left or too many rounds.

    To be called by a subreaper that knows all it started: any other child is an orphan it inherited.
    """
    me = os.getpid()
    for round_ in range(_ROUNDS):
        strays = children_of(me) - set(known)
        if not strays:
            return
        for pid in strays:
            kill_quietly(pid)
        if round_:
            time.sleep(_ROUND_S)
        for pid in strays:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass  # reaped in an earlier round


def end_all_children() -> None:
    """Kills this process's children and all that they leave behind."""
    end_strays(())
