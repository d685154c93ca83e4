"""The judge's side of a runner: asks it, stops it, and reads what the system counts of it."""

import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tuner.core.brief import brief
from tuner.core.descendants import children_of
from tuner.engine.processes.channel import Channel, ChannelClosed, ChannelGarbage


class CandidateRefused(Exception):
    """The candidate failed: `status` is `wrong_result` or `run_error`; or the machine: `environment`.

    Attributes:
        status: which.
        passing: whether the machine may not fail another time.
    """

    def __init__(self, status: str, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.status, self.passing = status, passing


class Lost(Exception):
    """The runner ended, did not answer in time, or answered what is no message.

    Attributes:
        timed_out: it took too long.
        garbled: what it said is no message; it may well live on.
    """

    def __init__(self, reason: str, timed_out: bool = False, garbled: bool = False) -> None:
        super().__init__(reason)
        self.timed_out, self.garbled = timed_out, garbled


class Runner:
    """A runner process, by its id and its socket.

    Args:
        pid: of the process, the leader of its group.
        descriptor: of our end of its socket; owned from here on.
        runners: process ids of all runners there are, this one's too, as they come and go.
        patience_s: for all requests between two calls of `begin`.
    """

    def __init__(self, pid: int, descriptor: int, patience_s: float, runners: Collection[int]) -> None:
        self.pid, self._patience_s, self._runners = pid, patience_s, runners
        self._channel = Channel(socket.socket(fileno=descriptor))
        self._deadline = math.inf
        try:
            # What it forked may hold its socket open after it died.
            self._process: int | None = os.pidfd_open(pid)
            self._channel.ends_with(self._process)
        except OSError:
            self._process = None

    def begin(self) -> None:
        """From now on it has its time."""
        self._deadline = time.monotonic() + self._patience_s

    def ask(self, request: Mapping[str, Any], *descriptors: int) -> Any:
        """Its answer; raises `Lost`, `CandidateRefused`."""
        try:
            self._channel.send(request)
            for descriptor in descriptors:
                self._channel.send_descriptor(descriptor)
        except ChannelClosed:
            raise Lost("it ended") from None
        try:
            answer = self._channel.receive(max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            raise Lost("no result in time", timed_out=True) from None
        except ChannelClosed:
            raise Lost("it ended") from None
        except ChannelGarbage as error:
            raise Lost(f"unusable answer: {error}", garbled=True) from None
        if not isinstance(answer, dict):
            raise Lost(f"unusable answer: {brief(answer)}", garbled=True)
        if answer.get("ok") is not True:
            status = str(answer.get("status"))
            status = status if status in ("wrong_result", "environment") else "run_error"
            reason = str(answer.get("error") or "it failed without a reason")[:2000]
            # A candidate can say so too: one alone ends no sweep. A machine fails the next ones as well.
            raise CandidateRefused(status, reason, passing=status == "environment")
        return answer

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """All its threads stand still, those that spin included."""
        try:
            os.killpg(self.pid, signal.SIGSTOP)
        except OSError:
            pass  # it ended; the next request finds out
        try:
            yield
        finally:
            try:
                os.killpg(self.pid, signal.SIGCONT)
            except OSError:
                pass

    def cpu_s(self) -> float:
        """Seconds of CPU time that its threads took so far; 0 where the system does not tell."""
        try:
            # clock_getcpuclockid(3): the process' CPU clock as the scheduler keeps it.
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return 0.0

    def helpers(self) -> set[int]:
        """Processes that it started and that live, also those that were left to the warm process: it forked
        this process and all runners, so a younger one that is no runner is an orphan of one."""
        born = _born(self.pid)
        found = {pid for pid in children_of(self.pid) if _born(pid) is not None}
        for pid in children_of(os.getppid()) - {os.getpid(), *self._runners}:
            began = _born(pid)
            if born is not None and began is not None and is_younger(pid, began, self.pid, born):
                found.add(pid)
        return found

    def waited_s(self) -> float:
        """Seconds that its main thread and this process were ready to run and had no core, so far."""
        waited = 0.0
        for process in (str(self.pid), "self"):
            try:
                waited += 1e-9 * int(Path("/proc", process, "schedstat").read_text().split()[1])
            except (OSError, ValueError, IndexError):
                pass  # a system that does not count it
        return waited

    def close(self) -> None:
        """Lets it go."""
        self._channel.close()
        if self._process is not None:
            os.close(self._process)


class Clocks:
    """What the system counts while a request is answered.

    Args:
        runner: that is asked.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner, self._began = runner, time.perf_counter()
        self._begun = self._read()

    def _read(self) -> tuple[float, float]:
        return self._runner.waited_s(), self._runner.cpu_s()

    def since(self) -> tuple[float, float, float]:
        """Seconds that runner and judge waited for cores, seconds of CPU time of the runner, and seconds by
        the judge's clock in which these were counted."""
        waited, used = self._read()
        return waited - self._begun[0], used - self._begun[1], time.perf_counter() - self._began


def is_younger(pid: int, began: int, than: int, born: int) -> bool:
    """Whether a process started after another one.

    A tick is 10 ms, and a kernel's first call, in which it forks, may come in the tick in which its runner
    started. Within a tick the process ids tell: they are given in turn, and begin anew at the largest.

    Args:
        pid, began: of the one, and the tick in which it started.
        than, born: of the other.
    """
    return began > born or (began == born and 0 < (pid - than) % _PIDS < _PIDS // 2)


def _most_pids() -> int:
    try:
        return int(Path("/proc/sys/kernel/pid_max").read_text())
    except (OSError, ValueError):
        return 2**22


_PIDS = _most_pids()


def _born(pid: int) -> int | None:
    """When a process started, in ticks since boot; `None` where it has ended."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
