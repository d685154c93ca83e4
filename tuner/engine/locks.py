"""Locks between processes: whoever measures is alone on the device.

A measurement takes the device's lock file exclusively. A build computes on the same cores as a CPU
measurement, so it takes the file shared; any number of builds go together, none beside a measurement,
also when the two belong to different sweeps of different users' processes. Locks end with the process.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.core.digest import digest


def lock_path(fingerprint: str) -> Path:
    """The lock file of a device; one a machine, whoever the user."""
    return Path(tempfile.gettempdir()) / f"kernel-tuner-lab-{digest(fingerprint)}.lock"


@contextmanager
def _locked(path: Path, operation: int) -> Iterator[None]:
    previous = os.umask(0)  # another user must be able to lock it too
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    finally:
        os.umask(previous)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def measuring(fingerprint: str) -> Iterator[None]:
    """Alone on the device; waits for builds and measurements that are under way."""
    with _locked(lock_path(fingerprint), fcntl.LOCK_EX):
        yield


@contextmanager
def building(fingerprint: str | None) -> Iterator[None]:
    """No measurement meanwhile on the device with this fingerprint; `None`: nothing to keep clear of."""
    if fingerprint is None:
        yield
        return
    with _locked(lock_path(fingerprint), fcntl.LOCK_SH):
        yield
