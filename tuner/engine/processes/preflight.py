"""Before a sweep: whether this machine lets it work at all. Cheap, and one line where it does not."""

import mmap
import os
import resource
from pathlib import Path

from tuner.core.cache import cache_folder
from tuner.core.errors import MachineFault
from tuner.core.scratch import Scratch
from tuner.engine.processes import machine_faults

# Objects, assembly and libraries of one batch of builds, with what compilers write beside them.
_SPACE_BYTES = 32 * 2**20
_FILES = 200
# NumPy maps 140 MiB, TVM 1.1 GiB; at 2 GiB a build with TVM has too little left.
_ADDRESS_BYTES = 3 * 2**30
# The database, logs, sockets of the warm processes; two a child, and some children wait between builds.
_OPEN_FILES, _OPEN_FILES_A_JOB = 64, 8


def prepared_scratch(jobs: int) -> Scratch:
    """A new temporary folder of ours, on a machine that `check_machine` found able.

    Raises:
        MachineFault: there is no place for one, or the machine is not able; nothing is left behind.
    """
    try:
        scratch = Scratch()
    except OSError as error:
        why = error.strerror or error
        raise MachineFault(f"no temporary folder can be made: {why}: set TMPDIR") from None
    try:
        check_machine(scratch.path, jobs)
    except BaseException:
        scratch.close()
        raise
    return scratch


def check_machine(folder: Path, jobs: int) -> None:
    """What a sweep in this folder needs of the machine; a millisecond.

    Args:
        folder: a temporary one of ours, where builds go.
        jobs: builds at a time.

    Raises:
        MachineFault: something is too small or forbidden; says what to change.
    """
    for reason in (_limits(jobs), _space(folder), _executes(folder, "TMPDIR"), _cache()):
        if reason:
            raise MachineFault(reason)


def _limits(jobs: int) -> str:
    address, files = resource.getrlimit(resource.RLIMIT_AS)[1], resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if address != resource.RLIM_INFINITY and address < _ADDRESS_BYTES:
        return (
            f"the address space is limited to {address // 1024:,} KiB: at least {_ADDRESS_BYTES // 1024:,} "
            "are needed (ulimit -v)"
        )
    wanted = min(_OPEN_FILES + _OPEN_FILES_A_JOB * jobs, 512)
    if files != resource.RLIM_INFINITY and files < wanted:
        return f"only {files} files may be open: at least {wanted} are needed (ulimit -n {wanted})"
    return ""


def _space(folder: Path) -> str:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < _SPACE_BYTES:
        return (
            f"{folder.parent} has {free / 2**20:.1f} MiB free, builds need {_SPACE_BYTES / 2**20:.0f}: make "
            "room there, or set TMPDIR to a folder on another disk"
        )
    if found.f_files and found.f_favail < _FILES:
        return f"{folder.parent} has room for {found.f_favail} more files, builds need {_FILES}: set TMPDIR"
    return ""


def _executes(folder: Path, variable: str) -> str:
    if machine_faults.is_noexec(folder):
        return machine_faults.noexec_advice(folder.parent, variable)
    probe = folder / "executes"
    try:
        probe.write_bytes(bytes(mmap.PAGESIZE))
        with probe.open("rb") as file:
            # As the loader maps a library: also what forbids it that is no mount option.
            mmap.mmap(
                file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC
            ).close()
    except OSError as error:
        said = f"nothing may be executed from {folder.parent} ({error.strerror})"
        return f"{said}: set {variable} to another folder"
    finally:
        probe.unlink(missing_ok=True)
    return ""


def _cache() -> str:
    # Helpers of devices are loaded from there; that it cannot be written is said where it is written.
    folder = cache_folder()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return machine_faults.noexec_advice(folder, "TUNER_CACHE") if machine_faults.is_noexec(folder) else ""
