"""What a zygote does about its family: news of children that ended, orphans, the end of the lab itself."""

import os
import select
import shutil
import socket
import threading
import time
from pathlib import Path

from tuner.core.descendants import end_all_children, end_strays, kill_quietly
from tuner.engine.processes.zygote_messages import STATUS, farewell_waits

_PARENT_ENDS_WITHIN_S = 3.0


def reap(running: dict[int, int]) -> None:
    """Tells how children ended, after what they left behind has been ended too.

    The kernel hands a dead child's orphans to the zygote before it says that the child is dead: who is told
    here that a child ended may measure the next one, nothing of the last computes any longer.

    Args:
        running: process id to the descriptor that takes the news; those that ended are removed.
    """
    ended = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        descriptor = running.pop(pid, None)
        if descriptor is not None:
            kill_quietly(
                pid
            )  # forked, and still in its group: the group's number is taken as long as it lives
            ended.append((descriptor, status))
    end_strays(running)
    for descriptor, status in ended:
        try:
            os.write(descriptor, STATUS.pack(1, status))
        except BrokenPipeError:
            pass  # the lab stopped waiting for it
        os.close(descriptor)


def leave(parent: int, folder: Path) -> None:
    """After the control socket closed without a farewell: ends all children, and the folder of a dead lab.

    Args:
        parent: the lab's process id when this zygote was started.
        folder: the lab's temporary folder.
    """
    end_all_children()
    deadline = time.monotonic() + _PARENT_ENDS_WITHIN_S
    # A dying process closes its sockets first; only then are its children given another parent.
    while os.getppid() == parent:
        if time.monotonic() > deadline:
            return  # it lives: it gave up this zygote alone
        time.sleep(0.01)
    for _ in range(20):
        # The children of another zygote may still be writing there; that zygote removes the folder too.
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


class Lifeline:
    """Watches the control socket while the zygote imports: TVM takes seconds, in which nobody reads it.

    Use as a context manager. If the lab dies meanwhile, all that was started ends, and this process too.
    """

    def __init__(self, control: socket.socket, parent: int, folder: Path) -> None:
        self._control, self._parent, self._folder = control, parent, folder
        self._done_read, self._done_write = os.pipe()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        # Nothing may be forked while a second thread lives.
        os.write(self._done_write, b".")
        self._thread.join()
        os.close(self._done_write)
        os.close(self._done_read)

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLHUP | getattr(select, "POLLRDHUP", 0))
        poll.register(self._done_read, select.POLLIN)
        for descriptor, _ in poll.poll():
            if descriptor == self._done_read:
                return
        if farewell_waits(self._control):
            return  # the lab interrupts the imports itself
        leave(self._parent, self._folder)
        os._exit(1)
