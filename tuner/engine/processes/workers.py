"""The warm processes of a workshop and the children they fork: started on demand, replaced when they die."""

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.core.errors import MachineFault
from tuner.engine.processes import machine_faults
from tuner.engine.processes.channel import ChannelClosed, ChannelGarbage
from tuner.engine.processes.limits import Limits
from tuner.engine.processes.zygote import Child, Zygote, ZygoteDied


@dataclass(frozen=True, slots=True)
class Warm:
    """What a warm process is made of: equal ones share a process.

    Attributes:
        modules: imported before the first fork.
        warm_up: a picklable call made once after the imports.
    """

    modules: tuple[str, ...]
    warm_up: Callable[[], None] | None = None


class ChildLost(Exception):
    """A child ended, or was ended, without an answer.

    Attributes:
        timed_out: it was ended because it took too long.
        fault: the machine's part in it; `None` where the child did it itself, or we ended it.
    """

    def __init__(self, reason: str, timed_out: bool, fault: machine_faults.Fault | None = None) -> None:
        super().__init__(reason)
        self.timed_out, self.fault = timed_out, fault


class Workers:
    """Forks children from warm processes and collects their answers; safe from several threads.

    Args:
        folder: for logs and the children's output.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._zygotes: dict[tuple[str, ...], Zygote] = {}
        self._working: set[Child] = set()
        self._ended: list[Child] = []

    def warm(self, warm: Warm) -> Zygote:
        """The process itself, started if need be; it imports while other things happen."""
        with self._lock:
            if warm.modules not in self._zygotes:
                self._zygotes[warm.modules] = Zygote(warm.modules, self._folder, warm.warm_up)
            return self._zygotes[warm.modules]

    def settle(self) -> None:
        """Waits until every warm process has imported what it is going to: before anything is timed.

        One that dies doing so is somebody else's error: whoever starts a child of it is told.
        """
        for zygote in list(self._zygotes.values()):
            try:
                zygote.wait_ready()
            except ZygoteDied:
                pass

    def start(self, warm: Warm, function: Any, payload: Any, limits: Limits) -> Child:
        """A child. A warm process that died (the system was short of memory, say) is replaced once.

        Raises:
            MachineFault: it dies again, with the last line of its log; or there is no process to be had.
        """
        try:
            return self._start(warm, function, payload, limits)
        except OSError as error:
            if fault := machine_faults.of_exception(error):
                raise fault.error() from None
            raise

    def _start(self, warm: Warm, function: Any, payload: Any, limits: Limits) -> Child:
        first = self.warm(warm)
        try:
            child = first.start(function, payload, limits)
        except ZygoteDied:
            with self._lock:
                if self._zygotes.get(warm.modules) is first:
                    self._zygotes.pop(warm.modules).close()
            try:
                child = self.warm(warm).start(function, payload, limits)
            except ZygoteDied as error:
                raise MachineFault(str(error)) from None
        self._working.add(child)
        return child

    def receive(self, child: Child, timeout: float) -> Any:
        """The child's next answer.

        Raises:
            ChildLost: it ended or took too long; it is gone then.
        """
        try:
            return child.channel.receive(timeout)
        except TimeoutError:
            child.kill()
            _collect(child)
            self._working.discard(child)
            raise ChildLost(f"no result within {timeout:g} s", True) from None
        except ChannelGarbage as error:
            # The child may live on. We end it: its exit is no fault of the machine.
            child.kill()
            _collect(child)
            self._working.discard(child)
            raise ChildLost(f"unusable answer: {error}", False) from None
        except ChannelClosed:
            raise self.lost(child) from None

    def converse(self, child: Child, question: Any, timeout: float) -> Any:
        """Asks a child that answers more than once; raises `ChildLost`."""
        try:
            child.channel.send(question)
        except ChannelClosed:
            pass  # it is gone: `receive` finds out how
        return self.receive(child, timeout)

    def lost(self, child: Child) -> ChildLost:
        """Why a child that ended by itself did; it is not at work any more."""
        self._working.discard(child)
        reason, fault = death(child)
        return ChildLost(reason, False, fault)

    def dismiss(self, child: Child) -> None:
        """Ends a child that has answered.

        Its computing ends here. Giving its memory back takes the system 2 ms more; its exit is collected
        when the next one is dismissed, so that nobody waits for that.
        """
        child.kill()
        self._working.discard(child)
        with self._lock:
            ended, self._ended = self._ended, [child]
        for each in ended:
            _collect(each)

    def collect(self) -> None:
        """Waits until those that were dismissed have ended: what they held is free then."""
        with self._lock:
            ended, self._ended = self._ended, []
        for each in ended:
            _collect(each)

    def ask(self, warm: Warm, function: Any, payload: Any, limits: Limits, timeout: float) -> Any:
        """One child's one answer; raises `ChildLost`."""
        child = self.start(warm, function, payload, limits)
        answer = self.receive(child, timeout)
        self.dismiss(child)
        return answer

    def stop(self) -> None:
        """Ends the children that are at work now; whoever waits for them gets `ChildLost`."""
        for child in list(self._working):
            child.kill()

    def close(self) -> None:
        """Ends all processes."""
        self.stop()
        zygotes: Sequence[Zygote] = list(self._zygotes.values())
        for zygote in zygotes:
            zygote.close()
        # After the zygotes have ended: a zygote that cannot say how a child ended keeps nobody waiting.
        for child in self._ended:
            _collect(child)


def _collect(child: Child) -> None:
    try:
        child.wait()
    except ZygoteDied:
        pass  # nobody is left who could say how it ended; it has answered


def death(child: Child) -> tuple[str, machine_faults.Fault | None]:
    """How a child ended that never answered, with what it printed last; and the machine's part in it.

    That we ended it is no part of the machine's.
    """
    try:
        code = child.wait()
    except ZygoteDied:
        reason = "its warm process was ended (out of memory?)"
        return reason, None if child.killed else machine_faults.Fault(reason, True)
    if child.killed:
        how = "unusable answer; it was ended"
    elif code < 0:
        try:
            how = f"died of {signal.Signals(-code).name}"
        except ValueError:
            how = f"died of signal {-code}"
    else:
        how = f"ended with exit code {code} and no result"
    lines = [line for line in child.output_tail().splitlines() if line.strip()]
    reason = f"{how}: {lines[-1].strip()[:300]}" if lines else how
    return reason, None if child.killed else machine_faults.of_exit(code)
