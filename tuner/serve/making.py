"""Pages that take seconds to make, each in a process of its own: reports, and inspected candidates.

`python -m tuner.serve.making inspect 42` (or `report c2`) prints the page, of what is in the database
`$TUNER_DB`. A compiler may take gigabytes, or die: the server lives on, ends what takes too long, and keeps
the latest pages.
"""

import asyncio
import os
import signal
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.core.errors import TunerError

if TYPE_CHECKING:
    from tuner.store.records import TrialDetail

LIMIT_S = 120.0
_KEPT = 16
_WAITING = 8
_READS_S = 60.0


class PageMaker:
    """Makes pages, one after the other, for whoever asks.

    Args:
        where: the database, as `open_store` takes it.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._pages: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed = False
        self._child: asyncio.subprocess.Process | None = None

    def close(self) -> None:
        """Ends what is being made."""
        self._closed = True
        if self._child is not None and self._child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    async def page(self, kind: str, what: str, state: str) -> str:
        """A page.

        Args:
            kind: `inspect` or `report`.
            what: the id of a trial, or what a report is of.
            state: of what it shows: a page is kept for as long as it is the same.

        Raises:
            TunerError: it cannot be made here, or takes too long; one line.
        """
        key = kind, what, state
        if key not in self._pages:
            if self._waiting >= _WAITING:
                raise TunerError("too many pages are being made already: try again in a moment")
            self._waiting += 1
            try:
                async with self._turn:
                    if key not in self._pages:
                        self._pages[key] = await self._made(kind, what)
            finally:
                self._waiting -= 1
        self._pages.move_to_end(key)
        page = self._pages[key]
        while len(self._pages) > _KEPT:
            self._pages.popitem(last=False)
        return page

    async def _made(self, kind: str, what: str) -> str:
        if self._closed:
            raise TunerError("the server is ending")
        child = self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tuner.serve.making", kind, what),
            # Not among the arguments: an URL may hold a password, and others see a process's arguments.
            env={**os.environ, "TUNER_DB": self._where},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, said = await asyncio.wait_for(child.communicate(), LIMIT_S)
        except TimeoutError:
            raise TunerError(f"it took longer than {LIMIT_S:g} s: use `tuner {kind}` in a terminal") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        if child.returncode == 0:
            return out.decode()
        lines = said.decode(errors="replace").splitlines()
        last = next((line for line in reversed(lines) if line.startswith("error: ")), "")
        raise TunerError(last.removeprefix("error: ") or f"it ended with code {child.returncode}")


def inspected(detail: "TrialDetail") -> str:
    """The inspect page of a stored trial, built from the kernel's present source.

    Raises:
        TunerError: the kernel, the target or a builder is not here, or the configuration does not build.
    """
    from tuner import registry
    from tuner.engine.examine.inspect import inspect
    from tuner.engine.examine.targets import target_of
    from tuner.report.inspection import inspection_page

    key = detail.trial.key
    kernel = registry.kernel(key.kernel)
    target = target_of(kernel, key.target)
    shown = inspect(kernel, key.workload, dict(key.config), target, detail.device.limits).as_dict()
    if kernel.digest != key.kernel_digest:
        changed = "the kernel's present source, which has changed since the trial"
        shown["toolchain"] = f"{shown['toolchain']} · {changed}"
    return inspection_page(shown)


def made(kind: str, what: str) -> str:
    """A page of what is in the default database.

    Raises:
        TunerError: there is no such thing, or it cannot be made here.
    """
    from tuner.core.scratch import Scratch
    from tuner.store.reading import open_reader

    with open_reader(timeout_s=_READS_S) as store:
        if kind == "inspect":
            return inspected(store.trial(int(what)))
        from tuner.report.html.report import report

        with Scratch("report-") as folder:
            page = Path(folder) / "report.html"
            report(what, store, page)
            return page.read_text(encoding="utf-8")


def main(kind: str, what: str) -> int:
    """Prints a page; an error is one line on stderr and exit code 2."""
    from tuner.report.text import safe

    # A builder may print: what it says is not the page.
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        page = made(kind, what)
    except TunerError as error:
        print("error: " + safe(" ".join(str(error).split("\n", 1)[0].split())), file=sys.stderr)
        return 2
    with os.fdopen(out, "w", encoding="utf-8") as stream:
        stream.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
