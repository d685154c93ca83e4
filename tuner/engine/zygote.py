"""Warm processes from which disposable children are forked.

A zygote is a fresh Python process that imports what its children will need (TVM takes 5 to 8 s) and
then only forks: one child a job, in a session of its own, with its own limits, its output redirected
to a file. The child talks to us over a socket of its own; the zygote only reports its process id and
how it ended. A child that crashes, hangs or floods its output takes nothing else with it, and when we
die (`kill -9` included) the zygote sees the end of its control socket and ends its children.

It finds modules where we find them: by our `sys.path` from the first import on, and not in the folder that it
happens to be started in, where any `queue.py` or `tuner.py` of a user's would come first.
"""

import ctypes
import errno
import importlib
import os
import pickle
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tuner.core.environment import clean_environment
from tuner.engine import machine_faults
from tuner.engine.channel import Channel, ChannelClosed
from tuner.engine.machine_faults import lower_limit

_STATUS = struct.Struct("<qq")  # (0, process id) after the fork, (1, wait status) at the end
_NO_FORK = 2  # (2, errno) in place of both: there is no process to be had
_PR_SET_PDEATHSIG = 1
_START = "import sys; sys.path[:] = sys.argv[2:]; from tuner.engine.zygote import main; main()"
_ENDS_WITHIN_S = 10.0  # a child that was killed, and the news of it


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        memory_bytes: address space beyond what the zygote has mapped; 0 for no limit.
        file_bytes: the largest file it may write, its own output included; 0 for no limit.
    """

    memory_bytes: int = 0
    file_bytes: int = 0


class ZygoteDied(RuntimeError):
    """The warm process itself is gone (out of memory, killed); it can be started again."""


class Child:
    """A job running in a forked child; made by `Zygote.start`."""

    def __init__(self, channel: Channel, status: int, output: Path) -> None:
        self.channel = channel
        self._status, self._output = status, output
        kind, self.pid = self._read_status(None)
        if kind == _NO_FORK and (fault := machine_faults.of_errno(self.pid)):
            raise fault.error()
        assert kind == 0
        self._ended: int | None = None

    def _read_status(self, timeout: float | None) -> tuple[int, int]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise TimeoutError
        data = os.read(self._status, _STATUS.size)
        if len(data) < _STATUS.size:
            raise ZygoteDied("the warm process ended unexpectedly")
        kind, value = _STATUS.unpack(data)
        return kind, value

    def kill(self) -> None:
        """Ends the child and all it started, at once."""
        if self._ended is None:
            for end in (os.killpg, os.kill):
                try:
                    end(self.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it ended by itself meanwhile

    def pause(self) -> None:
        """Stops all its threads where they are, those that spin included."""
        self._signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """Lets it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # it ended; whoever asks it next finds out

    def wait(self, timeout: float | None = 5.0) -> int:
        """The exit code; negative is the signal that ended it. Kills it after `timeout` seconds.

        Raises:
            ZygoteDied: nobody is left who could tell.
        """
        if self._ended is None:
            try:
                _, status = self._read_status(timeout)
            except TimeoutError:
                self.kill()
                try:
                    _, status = self._read_status(_ENDS_WITHIN_S)
                except TimeoutError:
                    raise ZygoteDied("the warm process does not say how its child ended") from None
            self._ended = os.waitstatus_to_exitcode(status)
            os.close(self._status)
            self.channel.close()
        return self._ended

    def output_tail(self, size: int = 2000) -> str:
        """The end of what the child printed, with unprintable bytes replaced."""
        try:
            with self._output.open("rb") as file:
                file.seek(max(0, self._output.stat().st_size - size))
                return file.read(size).decode("utf-8", "replace")
        except OSError:
            return ""


class Zygote:
    """A warm process.

    Args:
        modules: imported before the first fork; a name that cannot be imported is an error.
        folder: where the children's output files go.
        warm_up: a picklable call made once after the imports.
        environment: variables set on top of ours.
    """

    def __init__(
        self,
        modules: Sequence[str],
        folder: Path,
        warm_up: Callable[[], None] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._folder = folder
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
                env={**clean_environment(), "PYTHONUNBUFFERED": "1", **(environment or {})},
            )
        theirs.close()
        self._ready = False
        _send(ours, pickle.dumps((list(modules), warm_up, list(sys.path))))

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
                _send(self._control, message, [theirs.fileno(), status_write])
            except OSError:
                raise ZygoteDied(self._why()) from None
            except BaseException:
                # Ctrl-C, perhaps within the message: the zygote would wait for the rest of it for ever, and
                # nobody would be told how its children ended. It ends, and is replaced when it is needed.
                self._control.close()
                raise
            finally:
                theirs.close()
                os.close(status_write)
        try:
            return Child(Channel(ours), status_read, output)
        except ZygoteDied:
            ours.close()
            os.close(status_read)
            raise ZygoteDied(self._why()) from None

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
        self._control.close()
        if not self._ready:
            # It may import for seconds yet, and has no children. Interrupted, it removes what it was making.
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _send(control: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
    # Descriptors travel with the first byte of the length. In one call where it goes: half a message is of no
    # use to anybody.
    whole = struct.pack("<q", len(message)) + message
    sent = socket.send_fds(control, [whole], list(descriptors))
    if sent < len(whole):
        control.sendall(whole[sent:])


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    header, descriptors, _, _ = socket.recv_fds(control, 8, 2)
    if len(header) < 8:
        raise EOFError
    (length,) = struct.unpack("<q", header)
    message = bytearray()
    while len(message) < length:
        part = control.recv(min(1 << 20, length - len(message)))
        if not part:
            raise EOFError
        message += part
    return bytes(message), list(descriptors)


def _limit(limits: Limits) -> None:
    lower_limit(resource.RLIMIT_CORE, 0)
    if limits.memory_bytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        total = pages * resource.getpagesize() + limits.memory_bytes
        if not lower_limit(resource.RLIMIT_AS, total):
            machine_faults.note_lowered_memory()
    if limits.file_bytes:
        lower_limit(resource.RLIMIT_FSIZE, limits.file_bytes)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _child(message: bytes, descriptor: int) -> NoReturn:
    """The life of a child: never returns into the zygote's loop."""
    code = 1
    try:
        os.setsid()
        _die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Python ignores it: a child past its file limit would print into the void for ever.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        function, payload, limits, output = pickle.loads(message)
        sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)
        _limit(limits)
        channel = Channel(socket.socket(fileno=descriptor))
        function(payload, channel)
        code = 0
    except ChannelClosed:
        pass  # nobody listens any more
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        # Neither interpreter shutdown nor atexit handlers of libraries that were warmed up: 50 ms and hangs.
        os._exit(code)


def _serve(control: socket.socket) -> None:
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    wake_read.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake_read:
                    wake_read.recv(4096)
                    _reap(running)
                    continue
                try:
                    message, (channel, status) = _receive(control)
                except (EOFError, OSError, ValueError):
                    for pid in running:
                        os.killpg(pid, signal.SIGKILL)
                    return
                try:
                    pid = os.fork()
                except OSError as error:
                    # EAGAIN and ENOMEM are of the system, and may be over in a second: go on serving.
                    os.write(status, _STATUS.pack(_NO_FORK, errno.EAGAIN))
                    os.close(channel)
                    os.close(status)
                    print(f"no fork: {error}", file=sys.stderr)
                    continue
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for held in (control.fileno(), status, *running.values()):
                        os.close(held)
                    _child(message, channel)
                os.close(channel)
                running[pid] = status
                os.write(status, _STATUS.pack(0, pid))


def _reap(running: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        descriptor = running.pop(pid, None)
        if descriptor is None:
            continue
        try:
            os.write(descriptor, _STATUS.pack(1, status))
        except BrokenPipeError:
            pass  # we stopped waiting for it
        os.close(descriptor)


def main() -> None:
    """The zygote process: imports, then forks on demand until its control socket closes.

    It does not ask to die with its parent: the kernel takes that to be the thread that started it.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    message, _ = _receive(control)
    modules, warm_up, path = pickle.loads(message)
    sys.path[:] = path
    for name in modules:
        importlib.import_module(name)
    if warm_up is not None:
        warm_up()
    # What is imported never changes: keep the collector from touching (and so copying) its pages.
    import gc

    gc.collect()
    gc.freeze()
    control.sendall(b"r")
    _serve(control)
