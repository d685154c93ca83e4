"""Warm processes and their children, whenever Ctrl-C comes."""

import errno
import gc
import os
import signal
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import MachineFault
from tuner.engine.processes import zygote
from tuner.engine.processes.channel import Channel
from tuner.engine.processes.limits import Limits
from tuner.engine.processes.workers import ChildLost, Warm, Workers
from tuner.engine.processes.zygote import ZygoteDied

WARM = Warm(("tests.engine.test_workers",))


def echo_job(payload: Any, channel: Channel) -> None:
    channel.send(payload)
    channel.receive()


def garbling_job(payload: Any, channel: Channel) -> None:
    channel._socket.sendall(b"\xff" * 100)
    time.sleep(60)


def silent_job(payload: Any, channel: Channel) -> None:
    channel._socket.close()
    time.sleep(60)


@pytest.mark.parametrize("job", [garbling_job, silent_job])
def test_that_we_end_a_child_is_no_fault_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Any
) -> None:
    """One that lives on without a usable answer would else be taken for one that ran out of memory."""
    monkeypatch.setattr(zygote.Child.wait, "__defaults__", (0.5,))
    workers = Workers(tmp_path)
    try:
        child = workers.start(WARM, job, 1, Limits())
        with pytest.raises(ChildLost, match="unusable answer") as lost:
            if job is garbling_job:
                workers.receive(child, 30)
            else:
                raise workers.lost(child)
        assert lost.value.fault is None and not lost.value.timed_out
    finally:
        workers.close()


def test_that_somebody_else_ends_a_child_is(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    try:
        child = workers.start(WARM, echo_job, 1, Limits())
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ChildLost) as lost:
            for _ in range(2):
                workers.receive(child, 30)
        assert lost.value.fault is not None and lost.value.fault.passing
    finally:
        workers.close()


def test_a_child_that_cannot_be_forked_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: zygote.Child, timeout: float | None) -> tuple[int, int]:
        return zygote.NO_FORK, errno.EAGAIN

    workers = Workers(tmp_path)
    try:
        workers.warm(WARM).wait_ready()
        monkeypatch.setattr(zygote.Child, "_read_status", none)
        gc.collect()  # what earlier tests of this process left open may be closed at any time
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(MachineFault):
            workers.start(WARM, echo_job, 1, Limits())
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
    finally:
        workers.close()


def test_ctrl_c_within_a_message_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warm process has read how long a message is and never gets it; its other child is still at work."""

    def half(control: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
        socket.send_fds(control, [struct.pack("<q", len(message))], list(descriptors))
        raise KeyboardInterrupt

    workers = Workers(tmp_path)
    child = workers.start(WARM, echo_job, 1, Limits())
    assert workers.receive(child, 30) == 1
    with monkeypatch.context() as patch:
        patch.setattr(zygote, "send", half)
        with pytest.raises(KeyboardInterrupt):
            workers.start(WARM, echo_job, 2, Limits())
    started = time.monotonic()
    with pytest.raises(ChildLost):
        workers.converse(child, "go on", 30)
    assert workers.ask(WARM, echo_job, 3, Limits(), 30) == 3
    workers.close()
    assert time.monotonic() - started < 20


def test_a_warm_process_that_does_not_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Workers(tmp_path)
    child = workers.start(WARM, echo_job, 1, Limits())
    assert workers.receive(child, 30) == 1
    (process,) = workers._zygotes.values()
    # Half a message, and nobody notices: it waits for the rest and tells nobody how its child ends.
    socket.send_fds(process._control, [struct.pack("<q", 100)], [])
    monkeypatch.setattr(zygote, "_ENDS_WITHIN_S", 0.2)
    with pytest.raises(ZygoteDied, match="does not say"):
        child.wait(0.1)
    workers.dismiss(child)
    started = time.monotonic()
    workers.close()
    assert time.monotonic() - started < 15
    assert process._process.poll() is not None
