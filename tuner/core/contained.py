"""Runs a program under limits, its output in a bounded file, so that nothing of it outlives this process.

Between the program and us stands a supervisor (`_supervisor.py`): it adopts what the program orphans, watches
time, memory and output, and ends all of it when we close its standard input, which our death does too,
`kill -9` included.

Memory is what all processes of the program have resident together, read every few milliseconds: limits of
address space would forbid what reserves much and uses little, and count each process for itself.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.core.text_tail import text_tail

_SUPERVISOR = Path(__file__).with_name("_supervisor.py")
ISOLATED = (sys.executable, "-I", "-S")
"""What a command begins with that runs a script of ours on the standard library alone. It starts fastest: the
supervisor is such a process already, and forks."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What a program may use; 0 is no limit.

    Attributes:
        seconds: wall clock.
        memory_bytes: resident, of all its processes together.
        output_bytes: of what it prints.
        file_bytes: of any one file; 0 for as much as the output.
    """

    seconds: float = 0.0
    memory_bytes: int = 0
    output_bytes: int = 4 * 2**20
    file_bytes: int = 0

    def on_this_machine(self) -> "Caps":
        """With no more memory than leaves the machine usable: three quarters of it."""
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
        return Caps(self.seconds, min(self.memory_bytes or there, there), self.output_bytes, self.file_bytes)

    def excess(self, which: str) -> str:
        """In words, which limit was passed: `time`, `memory` or `output`."""
        return {
            "time": f"no end after {self.seconds:g} s",
            "memory": f"it took more than {self.memory_bytes / 2**30:.3g} GiB of memory",
            "output": f"it printed more than {self.output_bytes / 2**20:.3g} MiB",
        }[which]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Attributes:
        code: exit code; the negative number of the signal that ended it.
        passed: the limit for which it was ended: `time`, `memory`, `output`; else empty.
        output: the end of what it printed.
    """

    code: int
    passed: str
    output: str


class Contained:
    """A running program.

    Args:
        command: program and arguments.
        caps: its limits.
        output: the file that takes what it prints.
        descriptors: it inherits these.
        folder, environment: its own; default ours.
    """

    def __init__(
        self, command: Sequence[str], caps: Caps, output: Path, descriptors: Sequence[int] = (),
        folder: Path | None = None, environment: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._output = output
        limits = (caps.seconds, caps.memory_bytes, caps.output_bytes, caps.file_bytes or caps.output_bytes)
        self._process = subprocess.Popen(
            [*ISOLATED, str(_SUPERVISOR), *map(str, limits), str(output), *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=descriptors,
            cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip

    def wait(self, within_s: float | None = None) -> Ended:
        """Blocks until it has ended; interrupted, or after `within_s` seconds, it ends it."""
        assert self._process.stdout is not None and self._process.stdin is not None
        try:
            if not select.select([self._process.stdout], [], [], within_s)[0]:
                self._process.stdin.close()
            told = self._process.stdout.read()
        finally:
            self.close()
        code, _, passed = told.decode().partition(" ")
        # Nothing: somebody ended the supervisor.
        return Ended(int(code or -signal.SIGKILL), passed, self.output_tail())

    def output_tail(self, size: int = 20_000) -> str:
        """The end of what it printed so far, with unprintable bytes replaced."""
        return text_tail(self._output, size)

    def close(self) -> None:
        """Ends it and all it started."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def run_contained(
    command: Sequence[str], caps: Caps, output: Path, folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Ended:  # fmt: skip
    """Runs a program to its end; see `Contained`."""
    return Contained(command, caps, output, (), folder, environment).wait()
