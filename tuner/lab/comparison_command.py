"""What the commands of the benches of comparisons have in common: options, files, and how they end."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tuner.core.errors import TunerError
from tuner.lab.comparison_data import Case, Run, add_run, measured, read_data, write_data
from tuner.lab.comparisons import Comparisons
from tuner.lab.resumable import concluded, minutes, read_kept, write_kept
from tuner.store.store import open_store

if TYPE_CHECKING:
    from tuner.core.device import Device
    from tuner.store.store import Store

_Case = TypeVar("_Case", bound=Case)


@dataclass(frozen=True)
class Files:
    """Where the rows of all machines are.

    Attributes:
        data: which the page is written from.
        page: of the documents.
        write_section: puts a section of the data into the page.
        numbers: which every row has; see `read_data`.
    """

    data: Path
    page: Path
    write_section: Callable[[Path, str, Run], None]
    numbers: tuple[str, ...] = ()

    def read(self, path: Path) -> dict[str, Run]:
        """The sections of a file of such rows; see `read_data`."""
        return read_data(path, self.numbers)

    def add(self, runs: Sequence[Run]) -> None:
        """Adds runs to the data and writes their sections.

        Raises:
            TunerError: a file cannot be read or written.
        """
        data = self.read(self.data)
        names = dict.fromkeys(add_run(data, run) for run in runs)
        write_data(self.data, data)
        for name in names:
            self.write_section(self.page, name, data[name])

    def missing(self, section: str, cases: Sequence[_Case]) -> list[_Case]:
        """Those of some cases that the data has no time of."""
        rows = self.read(self.data).get(section, {}).get("cases", {})
        return [case for case in cases if case.key not in rows or not measured(rows[case.key])]


@dataclass(frozen=True)
class AskedFor(Generic[_Case]):
    """What a command line asks for, on the machine at hand.

    Attributes:
        device: that is measured.
        section: of it in the data.
        cases: of the operators and element types that are asked for.
        bench: of the store, what is kept of the device and what saves it makes the bench.
    """

    device: "Device"
    section: str
    cases: Sequence[_Case]
    bench: "Callable[[Store, Run, Callable[[], None]], Comparisons]"


def add_arguments(
    parser: argparse.ArgumentParser, operators: Sequence[str], dtypes: Sequence[str], page: Path, data: Path,
    lasts: float,
) -> None:  # fmt: skip
    """The options that all of them have.

    Args:
        parser: gets them.
        operators, dtypes: that there are cases of.
        page, data: where they are by default.
        lasts: minutes of a run that is told nothing.
    """
    parser.add_argument("--minutes", type=minutes, help=f"begin nothing later (default: {lasts:g})")
    parser.add_argument("--only", choices=operators, action="append", help="these operators only")
    parser.add_argument("--dtype", choices=dtypes, action="append", help="these element types only")
    parser.add_argument("--trials", type=count, help="of each kernel at each shape")
    parser.add_argument("--again", action="store_true", help="measure what is known too")
    parser.add_argument("--missing", action="store_true", help="measure what the data has no time of")
    parser.add_argument(
        "--merge", type=Path, action="append", metavar="FILE",
        help="measure nothing: add the rows of such a file, of results/ or of another machine's data",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of .json and .db")
    parser.add_argument("--page", type=Path, default=page)
    parser.add_argument("--data", type=Path, default=data, help="the rows of all machines")


def count(text: str) -> int:
    """A whole number from 1 up, of the command line.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        given = int(text)
    except ValueError:
        given = 0
    if given < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 up")
    return given


def carried_out(
    told: argparse.Namespace, files: Files, name: str, lasts: float, ask: Callable[[], AskedFor[Any]]
) -> int:
    """Measures until the time is over, or merges; the exit code, 1 where comparisons are missing.

    Args:
        told: the command line.
        files: of the bench.
        name: of the bench: of its files in the folder that `--output` names.
        lasts: minutes, where `--minutes` says nothing.
        ask: what is asked for; raises `TunerError` where it cannot be had.
    """
    if told.merge:
        return merge(told, files)
    until = time.monotonic() + 60 * (told.minutes or lasts)
    path = told.output / f"{name}.json"

    def measure() -> tuple[int, int]:
        kept, asked = read_kept(path), ask()
        run = kept.setdefault(asked.device.fingerprint, {})
        wanted = chosen(told, files, asked.cases, run, asked.section)

        def save() -> None:
            write_kept(path, kept)
            files.add([run])

        told.output.mkdir(parents=True, exist_ok=True)
        with open_store(str(told.output / f"{name}.db")) as store:
            return asked.bench(store, run, save).run(wanted, until), len(wanted)

    return concluded(measure, told.page, path)


def merge(told: argparse.Namespace, files: Files) -> int:
    """Adds the rows of the files that `--merge` names to the data and the page; the exit code."""
    try:
        for path in told.merge:
            if not path.is_file():
                raise TunerError(f"{path}: there is no such file: --merge takes one that a bench has kept")
        runs = [run for path in told.merge for run in files.read(path).values()]
        files.add(runs)
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{sum(len(run['cases']) for run in runs)} rows of {len(runs)} runs: {files.data}, {files.page}")
    return 0


def chosen(
    told: argparse.Namespace, files: Files, cases: Sequence[_Case], run: Mapping[str, Any], section: str
) -> list[_Case]:
    """Those of the cases that the command line asks for.

    Args:
        told: the command line.
        files: of the bench.
        cases: of the operators and element types that were asked for.
        run: what this checkout keeps of the device; with `--again` it forgets the cases.
        section: of the device in the data.

    Raises:
        TunerError: there is none.
    """
    if not cases:
        asked = " and ".join(", ".join(each) for each in (told.only, told.dtype) if each)
        raise TunerError(f"no comparison is of {asked}: leave out --only or --dtype")
    if told.again:
        for case in cases:
            run.get("cases", {}).pop(case.key, None)
    return files.missing(section, cases) if told.missing else list(cases)
