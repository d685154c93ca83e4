"""What a zygote does: imports, then forks a child a job until its control socket closes; see `zygote.py`."""

import errno
import importlib
import os
import pickle
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tuner.core.descendants import become_subreaper, die_with_parent, end_all_children
from tuner.engine.processes.channel import Channel, ChannelClosed
from tuner.engine.processes.limits import limit_this_process
from tuner.engine.processes.zygote_family import Lifeline, leave, reap
from tuner.engine.processes.zygote_messages import NO_FORK, STATUS, SWEEP, Farewell, receive


def _child(message: bytes, descriptor: int, zygote: int) -> NoReturn:
    """The life of a child: never returns into the zygote's loop."""
    code = 1
    try:
        os.setsid()
        die_with_parent(zygote)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(SWEEP, signal.SIG_DFL)
        # Python ignores it: a child past its file limit would print into the void for ever.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        function, payload, limits, output = pickle.loads(message)
        sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)
        limit_this_process(limits)
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


def _serve(control: socket.socket, parent: int, folder: Path) -> None:
    me = os.getpid()
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    wake_read.setblocking(False)
    for number in (signal.SIGCHLD, SWEEP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake_read:
                    wake_read.recv(4096)
                    reap(running)
                    continue
                try:
                    message, (channel, status) = receive(control)
                except Farewell:
                    return end_all_children()
                except (EOFError, OSError, ValueError):
                    return leave(parent, folder)
                reap(running)  # what the last child left may not compute beside this one
                try:
                    pid = os.fork()
                except OSError as error:
                    # EAGAIN and ENOMEM are of the system, and may be over in a second: go on serving.
                    os.write(status, STATUS.pack(NO_FORK, errno.EAGAIN))
                    os.close(channel)
                    os.close(status)
                    print(f"no fork: {error}", file=sys.stderr)
                    continue
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for held in (control.fileno(), status, *running.values()):
                        os.close(held)
                    _child(message, channel, me)
                os.close(channel)
                running[pid] = status
                os.write(status, STATUS.pack(0, pid))


def main() -> None:
    """The zygote process: imports, then forks on demand until its control socket closes.

    It does not ask to die with its parent: the kernel takes that to be the thread that started it.
    """
    become_subreaper()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    message, _ = receive(control)
    modules, warm_up, path, folder, parent = pickle.loads(message)
    sys.path[:] = path
    with Lifeline(control, parent, Path(folder)):
        for name in modules:
            importlib.import_module(name)
        if warm_up is not None:
            warm_up()
    # What is imported never changes: keep the collector from touching (and so copying) its pages.
    import gc

    gc.collect()
    gc.freeze()
    with suppress(OSError):  # nobody listens any more: the loop sees it
        control.sendall(b"r")
    _serve(control, parent, Path(folder))
