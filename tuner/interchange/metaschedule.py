"""MetaSchedule's own database: two files of JSON lines, as `ms.database.JSONDatabase` writes them.

`database_workload.json`: a line a program, `[structural hash, serialized module]`; the module is never read
here: whether a program is one of ours is told by its hash. `database_tuning_record.json`: a line a trial,
`[program, [trace, seconds of each run, target, arguments]]`.
"""

import base64
import binascii
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.core.digest import digest
from tuner.core.errors import InterchangeError, InvalidConfig
from tuner.core.recorded import slug
from tuner.core.scratch import Scratch
from tuner.core.trace_space import compact, trace_content
from tuner.interchange._fields import clip, duration
from tuner.interchange._reading import NotJson, check_width, parse_json, read_text, shown

WORKLOADS, RECORDS = "database_workload.json", "database_tuning_record.json"
# What MetaSchedule stores as the time of a candidate that failed.
FAILED_S = 1e10
_MOST_RECORDS = 1_000_000
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True)
class TuningRecord:
    """One line of the record table.

    Attributes:
        program: structural hash of its module, as the database writes it.
        trace: canonical JSON.
        samples: seconds of each run; empty for a failure.
        target: TVM's target, plain values.
        arguments: dtype and shape of each tensor.
    """

    program: str
    trace: str
    samples: tuple[float, ...]
    target: Mapping[str, Any]
    arguments: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def target_name(self) -> str:
        """`cpu:x86_64_v4` or `cuda:sm_80`."""
        kind = str(self.target.get("kind", "unknown"))
        arch = self.target.get("arch") or self.target.get("mcpu") or kind
        return f"{'cpu' if kind == 'llvm' else slug(kind)}:{slug(str(arch))}"

    @property
    def target_digest(self) -> str:
        """Of everything the target says."""
        return digest(dict(self.target))


def is_database(path: Path) -> bool:
    """Whether a path is a folder with the two files, or one of them."""
    return (path / RECORDS).is_file() or path.name in (RECORDS, WORKLOADS)


def read_database(path: Path, note: Callable[[str], None] = lambda text: None) -> list[TuningRecord]:
    """The records of a database; duplicates of one trace and target as one, with all their times.

    Args:
        path: the folder of the two files, or one of them, the other lying beside it.
        note: is told what was left out: a last line that is cut, as of a database that is being written.

    Raises:
        InterchangeError: a file is missing, too large, has no whole line, or a line is not what it should be;
            names the file and the line.
    """
    folder = path if path.is_dir() else path.parent
    cut: list[str] = []
    programs = [_program(content, where) for content, where in _lines(folder / WORKLOADS, cut)]
    found: dict[tuple[str, str, str], TuningRecord] = {}
    missing = 0
    for content, where in _lines(folder / RECORDS, cut):
        if cut and isinstance(content, list) and content[:1] == [len(programs)] and WORKLOADS in cut[0]:
            missing += 1  # of the program whose line is cut
            continue
        record = _record(content, programs, where)
        key = (record.program, record.trace, record.target_digest)
        before = found.get(key)
        if before is not None:
            samples = before.samples + record.samples
            record = TuningRecord(record.program, record.trace, samples, record.target, record.arguments)
        found[key] = record
    if not found:
        raise InterchangeError(f"{shown(folder / RECORDS)} has no records")
    for where in cut:
        note(f"{where} is cut and was left out; everything before it was read")
    if missing:
        note(f"{missing} records of the program whose line is cut were left out")
    return list(found.values())


def _lines(path: Path, cut: list[str]) -> Iterator[tuple[Any, str]]:
    """Each line's value and place; a last line that is cut goes to `cut`, unless it is the only one."""
    try:
        text = read_text(path)
    except InterchangeError:
        if path.exists():
            raise
        raise InterchangeError(f"{shown(path)} does not exist: a database is two files") from None
    check_width(text, shown(path))
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > _MOST_RECORDS:
        raise InterchangeError(f"{shown(path)} has more than {_MOST_RECORDS:,} lines")
    for number, line in lines:
        where = f"{shown(path)} line {number}"
        try:
            content = parse_json(line, where)
        except NotJson as error:
            if error.unfinished and number == lines[-1][0] and len(lines) > 1:
                cut.append(where)
                return
            raise
        yield content, where


def _program(content: Any, where: str) -> str:
    pair = isinstance(content, list) and len(content) == 2 and all(isinstance(c, str) for c in content)
    if not pair or not content[0].lstrip("-").isdigit() or len(content[0]) > 20:
        raise InterchangeError(f"{where} is not [structural hash, module]")
    try:
        base64.b64decode(content[1], validate=True)
    except (binascii.Error, ValueError):
        raise InterchangeError(f"{where}: the module is not base64") from None
    return str(content[0])


def _record(content: Any, programs: Sequence[str], where: str) -> TuningRecord:
    shaped = isinstance(content, list) and len(content) == 2 and type(content[0]) is int
    if not shaped or not isinstance(content[1], list) or len(content[1]) != 4:
        raise InterchangeError(f"{where} is not [program, [trace, times, target, arguments]]")
    number, (trace, times, target, arguments) = content
    if not 0 <= number < len(programs):
        raise InterchangeError(f"{where}: there is no program {number}, only {len(programs)}")
    try:
        text = compact(trace)
    except (InvalidConfig, RecursionError, ValueError) as error:
        raise InterchangeError(f"{where}: {clip(str(error), 200)}") from None
    if not isinstance(target, dict) or not isinstance(target.get("kind"), str):
        raise InterchangeError(f"{where}: the target is not an object with a kind")
    if not isinstance(times, list) or not times:
        raise InterchangeError(f"{where}: the times are not a list of seconds")
    samples = tuple(duration(t, 1.0, f"{where}: a time") for t in times)
    kept = () if any(s >= FAILED_S for s in samples) else samples
    return TuningRecord(programs[number], text, kept, target, _arguments(arguments, where))


def _arguments(content: Any, where: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    found = []
    for argument in content if isinstance(content, list) else [None]:
        if not isinstance(argument, list) or len(argument) != 3 or argument[0] != "TENSOR":
            raise InterchangeError(f"{where}: an argument is not ['TENSOR', dtype, shape]: {clip(argument)}")
        dims = argument[2]
        if not isinstance(dims, list) or not all(type(d) is int and 0 < d < 2**40 for d in dims):
            raise InterchangeError(f"{where}: an argument is not ['TENSOR', dtype, shape]: {clip(argument)}")
        if argument[1] not in _DTYPES:
            raise InterchangeError(f"{where}: dtype {clip(argument[1])} is none of {', '.join(_DTYPES)}")
        found.append((argument[1], tuple(dims)))
    return tuple(found)


def program_hash(program: str) -> str:
    """The structural hash of a program (TVMScript), as a database writes it. Imports TVM."""
    import tvm
    import tvm.script.parser
    from tvm.s_tir import meta_schedule as ms

    return str(ms.database.Workload(tvm.script.from_source(program)).as_json()[0])


def write_database(
    folder: Path, program: str, target: Mapping[str, Any], outcomes: Sequence[tuple[str, Sequence[float]]]
) -> int:
    """Writes the two files, in place of any that are there; how many records they hold. Imports TVM.

    Args:
        folder: made if it is not there.
        program: TVMScript.
        target: TVM's target, plain values.
        outcomes: traces with seconds of each run, none for a failure. Those that do not apply to the program
            are left out: MetaSchedule could not read them.

    Raises:
        InterchangeError: the files cannot be written.
    """
    import tvm
    import tvm.script.parser
    from tvm.s_tir import meta_schedule as ms
    from tvm.s_tir.schedule import Trace

    module = tvm.script.from_source(program)
    arguments = ms.arg_info.ArgInfo.from_entry_func(module, remove_preproc=True)
    compiled_for = tvm.target.Target(dict(target))
    with Scratch("export-") as made:
        database = ms.database.JSONDatabase(work_dir=str(made))
        workload = database.commit_workload(module)
        for text, seconds in outcomes:
            schedule = tvm.s_tir.Schedule(module, debug_mask="none")
            try:
                Trace.apply_json_to_schedule(trace_content(text), schedule)
            except Exception:
                continue
            times = list(seconds) or [FAILED_S]
            database.commit_tuning_record(
                ms.database.TuningRecord(schedule.trace, workload, times, compiled_for, arguments)
            )
        count = len(database)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in (WORKLOADS, RECORDS):
                shutil.copyfile(made / file, folder / file)
        except OSError as error:
            raise InterchangeError(f"{shown(folder)} cannot be written: {error.strerror or error}") from None
    return count
