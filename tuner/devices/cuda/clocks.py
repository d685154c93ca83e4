"""A GPU's clock held by NVML, and let go however the process that asked for it ends.

The lock stays when the process that set it has ended. So a helper holds it: a process of its own, outside of
the terminal's process group, which waits at a pipe whose other end only the asking process has. That end
closes with the process, killed or not, and the helper lets the clock go.
"""

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tuner.core.errors import Unavailable

# NVML answers in milliseconds; a driver that is being loaded takes seconds.
_PATIENCE_S = 30.0


@contextlib.contextmanager
def held(pci: str, index: int, megahertz: int) -> Iterator[None]:
    """The SM clock of a GPU at so many MHz, as long as nothing throttles it.

    Args:
        pci: bus id of the GPU.
        index: for what people can do themselves.
        megahertz: what is asked for.

    Raises:
        Unavailable: NVML refuses, with its reason: it takes root, or a board that can.
    """
    command = [sys.executable, "-m", "tuner.devices.cuda.clocks", pci, str(megahertz)]
    helper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert helper.stdin is not None and helper.stdout is not None
    try:
        ready, _, _ = select.select([helper.stdout], [], [], _PATIENCE_S)
        said = helper.stdout.readline().strip() if ready else "NVML does not answer"
        if said != "held":
            raise Unavailable(
                f"the clock of GPU {index} cannot be held at {megahertz} MHz: {said or 'no NVML'}; as root "
                f"'nvidia-smi -i {index} -lgc {megahertz},{megahertz}' does (-rgc afterwards), without "
                "--lock-clock here"
            )
        yield
    finally:
        helper.stdin.close()
        helper.stdout.close()
        try:
            helper.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            helper.kill()


def _hold(nvml: Any, pci: str, megahertz: int, stdin: Any, stdout: Any) -> None:
    nvml.nvmlInit()
    device = nvml.nvmlDeviceGetHandleByPciBusId(pci.encode())
    nvml.nvmlDeviceSetGpuLockedClocks(device, megahertz, megahertz)
    try:
        stdout.write("held\n")
        stdout.flush()
        stdin.read()
    finally:
        nvml.nvmlDeviceResetGpuLockedClocks(device)


def main(pci: str, megahertz: str) -> None:
    """The helper: holds the clock until its standard input ends."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the end of the pipe ends it
    try:
        import pynvml

        _hold(pynvml, pci, int(megahertz), sys.stdin, sys.stdout)
    except Exception as error:  # NVMLError of many kinds, or no NVML
        with contextlib.suppress(OSError):
            print((str(error) or type(error).__name__).splitlines()[0], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
