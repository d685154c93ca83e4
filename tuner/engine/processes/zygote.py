"""Warm processes from which disposable children are forked: our side of them.

A zygote is a fresh Python process that imports what its children will need (TVM takes 5 to 8 s) and
then only forks: one child a job, in a session of its own, with its own limits, its output redirected
to a file. The child talks to us over a socket of its own; the zygote only reports its process id and
how it ended. A child that crashes, hangs or floods its output takes nothing else with it, and when we
die (`kill -9` included) the zygote sees the end of its control socket, ends its children and removes our
temporary folder. Orphans of its children become children of its own and are ended (`zygote_family.py`). What
it does is in `zygote_server.py`.

It finds modules where we find them: by our `sys.path` from the first import on, and not in the folder that it
happens to be started in, where any `queue.py` or `tuner.py` of a user's would come first.
"""

import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tuner.core.descendants import children_of, signal_outside_group
from tuner.core.environment import clean_environment
from tuner.core.text_tail import text_tail
from tuner.engine.processes import machine_faults
from tuner.engine.processes.channel import Channel
from tuner.engine.processes.limits import Limits
from tuner.engine.processes.zygote_messages import NO_FORK, STATUS, say_farewell, send, sweep

__all__ = ["Child", "Limits", "Zygote", "ZygoteDied"]

_START = (
    "import sys; sys.path[:] = sys.argv[2:]; from tuner.engine.processes.zygote_server import main; main()"
)
_ENDS_WITHIN_S = 10.0  # a child that was killed, and the news of it


class ZygoteDied(RuntimeError):
    """The warm process itself is gone (out of memory, killed); it can be started again."""


class Child:
    """A job running in a forked child; made by `Zygote.start`.

    Attributes:
        killed: whether we ended it, so that its SIGKILL is nobody else's.
    """

    def __init__(self, channel: Channel, status: int, output: Path, zygote: "Zygote") -> None:
        self.channel = channel
        self.killed = False
        self._status, self._output, self._zygote = status, output, zygote
        kind, self.pid = self._read_status(None)
        if kind == NO_FORK and (fault := machine_faults.of_errno(self.pid)):
            raise fault.error()
        assert kind == 0
        self._ended: int | None = None
        # A process it forked holds its socket open: only the zygote can tell that it is dead.
        channel.ends_with(status)

    def _read_status(self, timeout: float | None) -> tuple[int, int]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise TimeoutError
        data = os.read(self._status, STATUS.size)
        if len(data) < STATUS.size:
            raise ZygoteDied("the warm process ended unexpectedly")
        kind, value = STATUS.unpack(data)
        return kind, value

    def kill(self) -> None:
        """Ends the child and all it started, at once."""
        if self._ended is None:
            self.killed = True
            self._end()

    def _end(self) -> None:
        signal_outside_group(self.pid, signal.SIGKILL)
        for end in (os.killpg, os.kill):
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                end(self.pid, signal.SIGKILL)

    def pause(self) -> None:
        """Stops all its threads where they are, those that spin included, and ends what it orphaned."""
        self._signal(signal.SIGSTOP)
        self._zygote.end_orphans()

    def proceed(self) -> None:
        """Lets it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it ended; whoever asks it next finds out
            os.killpg(self.pid, number)
            signal_outside_group(self.pid, number)

    def wait(self, timeout: float | None = 5.0) -> int:
        """The exit code; negative is the signal that ended it. Kills it after `timeout` seconds.

        Raises:
            ZygoteDied: nobody is left who could tell.
        """
        if self._ended is None:
            try:
                _, status = self._read_status(timeout)
            except ZygoteDied:
                self._end()  # the kernel ended it with the zygote, and nobody what it forked
                raise
            except TimeoutError:
                self._end()
                try:
                    _, status = self._read_status(_ENDS_WITHIN_S)
                except TimeoutError:
                    raise ZygoteDied("the warm process does not say how its child ended") from None
                self.killed = True
            self._ended = os.waitstatus_to_exitcode(status)
            self._zygote.family.discard(self.pid)
            self.channel.close()
            os.close(self._status)
        return self._ended

    def output_tail(self, size: int = 2000) -> str:
        """The end of what the child printed, with unprintable bytes replaced."""
        return text_tail(self._output, size)


class Zygote:
    """A warm process.

    Args:
        modules: imported before the first fork; a name that cannot be imported is an error.
        folder: where the children's output files go.
        warm_up: a picklable call made once after the imports.
        environment: variables set on top of ours.

    Attributes:
        family: process ids of the children whose end is not known yet.
    """

    def __init__(
        self,
        modules: Sequence[str],
        folder: Path,
        warm_up: Callable[[], None] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self.family: set[int] = set()
        self._lock = threading.Lock()
        self._count = 0
        ours, theirs = socket.socketpair()
        self._control = ours
        self._log = folder / f"zygote-{id(self):x}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(theirs.fileno()), *map(str, sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal reaches us alone; we end the children in good order.
                start_new_session=True,
                # What its children make in the temporary folder (compilers do) goes with our folder.
                env={
                    **clean_environment(),
                    "PYTHONUNBUFFERED": "1",
                    "TMPDIR": str(folder),
                    **(environment or {}),
                },
            )
        theirs.close()
        self._ready = False
        send(ours, pickle.dumps((list(modules), warm_up, list(sys.path), str(folder), os.getpid())))

    def wait_ready(self) -> None:
        """Blocks until the modules are imported: nothing may be measured while they are.

        Raises:
            ZygoteDied: they cannot be; the message has the end of the log.
        """
        with self._lock:
            if not self._ready:
                try:
                    self._ready = self._control.recv(1) == b"r"
                except OSError:
                    pass
                if not self._ready:
                    raise ZygoteDied(self._why())

    def start(
        self, function: Callable[[Any, Channel], None], payload: Any, limits: Limits | None = None
    ) -> Child:
        """Forks a child that calls `function(payload, channel)` and ends.

        Blocks until the zygote has imported its modules.

        Raises:
            ZygoteDied: the warm process is gone; the message has the end of its log.
        """
        self.wait_ready()
        ours, theirs = socket.socketpair()
        status_read, status_write = os.pipe()
        with self._lock:
            self._count += 1
            output = self._folder / f"{self._process.pid}-{self._count}.out"
            message = pickle.dumps((function, payload, limits or Limits(), str(output)))
            try:
                send(self._control, message, [theirs.fileno(), status_write])
            except OSError:
                raise ZygoteDied(self._why()) from None
            except BaseException:
                # Ctrl-C, perhaps within the message: the zygote would wait for the rest of it for ever, and
                # nobody would be told how its children ended. The zygote ends; the next job starts another.
                self._control.close()
                raise
            finally:
                theirs.close()
                os.close(status_write)
        try:
            child = Child(Channel(ours), status_read, output, self)
            self.family.add(child.pid)
            return child
        except BaseException as error:
            ours.close()
            os.close(status_read)
            if isinstance(error, ZygoteDied):
                raise ZygoteDied(self._why()) from None
            raise

    def end_orphans(self) -> None:
        """Has the zygote end what its living children orphaned; disturbs it only where there is something."""
        if not children_of(self._process.pid) <= self.family:
            sweep(self._process.pid)

    def _why(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        try:
            fault = machine_faults.of_exit(self._process.wait(1))
        except subprocess.TimeoutExpired:
            fault = None
        if fault is not None:
            return f"a worker process ended: {fault.reason}"
        return f"a worker process ended: {lines[-1] if lines else 'no message'}"

    def close(self) -> None:
        """Ends the zygote and all its children."""
        say_farewell(self._control)
        if not self._ready:
            # The zygote still imports, perhaps for seconds, and has no children. Interrupted, it removes what
            # it was making.
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
