"""Databases of anybody: no command ends in a traceback or without end, whatever a file holds.

Real small databases are changed by a seeded random generator: bytes of the file, the schema, single values.
"""

import os
import random
import re
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.fuzz.campaigns import store_campaigns
from tests.store.conftest import Maker
from tuner import registry
from tuner.cli import app
from tuner.core.device import Device
from tuner.core.errors import TunerError
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.turns import Turns
from tuner.engine.tuning import campaign
from tuner.engine.tuning.history import known_history
from tuner.engine.tuning.starting import predicted_starts
from tuner.store.models import Base
from tuner.store.records import DeviceInfo, Final, FinalEntry, KernelInfo
from tuner.store.store import open_store

TABLES = sorted(Base.metadata.tables)
RUNNER = CliRunner()
# Everything that a terminal obeys, but for line ends and tabs.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"
NASTY: tuple[Any, ...] = (
    None, "", "x", ESCAPE, -1, 0, 1, 2**62, 2**63 - 1, 1e308, -1e308, 1e-320, float("inf"), b"\xff\xfe\x00",
    b"", "nan", "null", "true", "[]", "{}", "[[[[]]]]", "[" * 100_000,
    '{"a":' * 5_000 + "1" + "}" * 5_000,
    '{"m":1e999}', '{"m":NaN}', '{"m":-1,"n":0,"k":1}', '{"m":"x"}', '{"m":{"a":[1]}}', '{"m":null}',
    '{"m":true}',
    "9" * 5_000, '{"m":' + "9" * 400 + "}", "[1e-320]", "[0]", "[-1.0]", '["x"]', "[null]", "[1,[2]]",
    "ok", "pruned", "environment", "measured", "gemm", "conv2d", "f32", "2026-01-01", "2026-01-01T00:00:00",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "x" * 300_000, b"\xed\xa0\x80",
    "[bold]", "[/bold]", "[link=file:///etc]x[/link]", "\n", "\n\n", "\r\n", "a\tb", "../../x",
    "cpp_naive",
    f'{{"{ESCAPE.encode("unicode_escape").decode()}":1}}', '{"threads":"2"}', '{"threads":0}',
    '{"cache":"hot"}',
    '{"run_timeout_s":null}', '{"min_samples":9,"max_samples":2}', '{"seconds":"late"}', '{"":""}',
)  # fmt: skip
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


@cache
def this_device() -> Device:
    return campaign.default_device()


@pytest.fixture(scope="module")
def seed_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of two kernels, two devices, a final, failures, a replayed recording."""
    this_device()  # looked for before `_no_devices` hides it
    path = tmp_path_factory.mktemp("fuzz") / "seed.db"
    kernel = registry.kernel("cpp_naive")
    make = Maker(kernel=KernelInfo.of(kernel))
    other = make.with_(
        device=DeviceInfo("gpu-1", "a card", "cuda", "cuda:sm_80", {"sms": 80, "caches": [1, 2]})
    )
    recorded = make.with_(
        kernel=KernelInfo("recorded", "r", "recorded", "gemm"), searcher="imported",
        device=DeviceInfo("rec-1", "elsewhere", "replay", "cuda:sm_80", {"vendor": "x"}, {"sms": 4.0}),
    )  # fmt: skip
    with open_store(path) as store:
        for maker in (make, other):
            sweep = store.begin_sweep(maker.spec)
            timed = [maker.timed(1e-3 * (i + 1), MC=i) for i in range(12)]
            ids = store.add_trials(sweep, [*timed, maker.failed(Status.BUILD_ERROR, MC=90)])
            store.record_reuse(sweep, 13, ids[0])
            entries = [FinalEntry(i, "candidate", Turns((1e-3,) * 7)) for i in ids[:2]]
            store.record_final(
                Final(maker.workload, maker.device.fingerprint, maker.protocol, entries, ids[0])
            )
            store.finish_sweep(sweep, "interrupted", {"seconds": 1.0})
        store_campaigns(store, make)
        sweep = store.begin_sweep(recorded.spec)
        replayed = [recorded.timed(1e-3 * (i + 1), Evidence.REPLAYED, A=i % 3, B=i // 3) for i in range(9)]
        store.add_trials(sweep, replayed)
        store.finish_sweep(sweep)
        predicted = Measurement(Status.OK, Evidence.PREDICTED, (1e-3,))
        store.add_trials(store.begin_sweep(make.with_(seed=9).spec), [make.trial(predicted, MC=1)])
    with sqlite3.connect(path) as plain:
        plain.execute("PRAGMA journal_mode = DELETE")  # one file, without its log beside it
    return path


def commands(database: Path, out: Path) -> list[list[str]]:
    """Every command that reads a database and needs no compiler."""
    key = "gemm/f32/m64-n32-k16"
    export = ["export", str(out), "--workload", key, "--format"]
    shown = [
        ["show", "t1"],
        ["show", "t13"],
        ["show", "s1"],
        ["show", "t1", "--json"],
        ["show", "s1", "--json"],
        ["show", "--campaigns"],
        ["show", "--campaigns", "--json"],
        *(["show", f"c{n}", *json] for n in (1, 2, 3) for json in ((), ("--json",))),
    ]
    found = [
        ["best"], ["best", "--json"],
        ["best", "gemm", "--shape", "64x32x16", "--evidence", "measured,replayed"],
        ["best", "gemm", "--kernel", "cpp_naive"], *shown, [*export, "csv"], [*export, "json"],
        [*export, "t4", "--kernel", "cpp_naive", "--device", "EPYC"],
        [*export, "kernel-tuner", "--kernel", "recorded"], ["export", str(out), "--format", "metaschedule"],
        ["devices"], ["replay", "recorded", "--trials", "2", "--searcher", "random"],
    ]  # fmt: skip
    return [[*command, "--db", str(database)] for command in found]


def sweep_start(database: Path) -> None:
    """What a sweep reads of a database before it measures."""
    kernel = registry.kernel("cpp_naive")
    device = this_device()
    target = device.target_for(campaign.default_protocol(device).threads)
    workload = registry.operator("gemm").parse("48x32x16")
    make = Maker(kernel=KernelInfo.of(kernel))
    with open_store(database) as store:
        known_history(kernel, workload, target, DeviceInfo.of(device), store)
        space = kernel.space(make.workload, target)
        groups = store.history_groups(kernel.name, kernel.operator)
        predicted_starts(kernel, make.workload, target, space, store, groups, 10)
        store.device_limits("cpu-1")
        found = store.resumable(make.spec)
        if found is not None:
            store.sweep_history(found)
        store.find_identities([make.key({"MC": 1}).digest], make.protocol)
        store.claim(store.begin_sweep(make.spec), [make.key({"MC": 77}).digest], make.protocol, 5.0)
        store.sweeps("gemm")
        store.finals(workload_key=make.workload.key)


def invoke(arguments: list[str]) -> Any:
    return RUNNER.invoke(app, arguments, standalone_mode=False)


def complaint(error: BaseException | None) -> str | None:
    """What is wrong with how a command ended; `None` where it is an answer or one line of error."""
    if error is None or isinstance(error, typer.Exit | SystemExit):
        return None
    if isinstance(error, TunerError):
        return "an error of several lines" if "\n" in " ".join(str(error).split()) or not str(error) else None
    return f"{type(error).__name__}: {error}"


def problems(database: Path, work: Path, chosen: Callable[[list[Any]], list[Any]]) -> Iterator[str]:
    """Runs commands on a database; what each did wrong. Each works on a copy: some of them write."""
    content = database.read_bytes()
    copy = work / "copy.db"

    def fresh() -> None:
        for left in work.glob("copy.db*"):
            left.unlink()
        copy.write_bytes(content)

    for command in chosen([*commands(copy, work / "out"), None]):
        fresh()
        began = time.monotonic()
        if command is None:
            try:
                sweep_start(copy)
                wrong = None
            except Exception as error:
                wrong = complaint(error)
        else:
            result = invoke(command)
            wrong = complaint(result.exception)
            if wrong is None and CONTROLS.search(result.output):
                wrong = f"prints controls: {CONTROLS.search(result.output)!r}"
        took = time.monotonic() - began
        if wrong is None and took > 60:
            wrong = f"takes {took:.0f} s"
        if wrong is not None:
            yield f"{'a sweep' if command is None else ' '.join(command[:-2])}: {wrong[:300]}"


def break_bytes(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "block", "cut", "header", "page"])
    if kind == "flip":
        for _ in range(rng.choice([1, 4, 64])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "block":
        start = rng.randrange(len(content))
        content[start : start + rng.choice([8, 200, 4096])] = rng.randbytes(rng.choice([8, 200, 4096]))
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "header":
        content[rng.randrange(100)] = rng.randrange(256)
    else:
        pages = len(content) // 4096
        a, b = rng.randrange(pages) * 4096, rng.randrange(pages) * 4096
        content[a : a + 4096] = content[b : b + 4096]
    path.write_bytes(bytes(content))
    return kind


def unguarded(path: Path) -> sqlite3.Connection:
    """A connection that obeys no constraint."""
    plain = sqlite3.connect(path, isolation_level=None)
    plain.execute("PRAGMA foreign_keys = OFF")
    plain.execute("PRAGMA ignore_check_constraints = ON")
    for verb in ("update", "delete"):
        plain.execute(f"DROP TRIGGER IF EXISTS trials_refuse_{verb}")
    return plain


def break_schema(path: Path, rng: random.Random) -> str:
    table = rng.choice(TABLES)
    plain = unguarded(path)
    columns = [row[1] for row in plain.execute(f"PRAGMA table_info({table})")]
    column = rng.choice(columns)
    rest = [c for c in columns if c != column]
    kind = rng.choice(
        [
            "drop",
            "rename",
            "column",
            "view",
            "endless",
            "huge",
            "loose",
            "swap",
            "trigger",
            "version",
            "index",
        ]
    )
    everything = ", ".join(columns)
    script = {
        "drop": f"DROP TABLE {table}",
        "rename": f"ALTER TABLE {table} RENAME TO other_{table}",
        "column": f"CREATE TABLE t_ AS SELECT {', '.join(rest)} FROM {table}; DROP TABLE {table};"
        f"ALTER TABLE t_ RENAME TO {table}",
        "view": f"ALTER TABLE {table} RENAME TO t_; CREATE VIEW {table} AS SELECT * FROM t_",
        "endless": f"DROP TABLE {table}; CREATE VIEW {table} AS {ENDLESS}",
        "huge": f"CREATE TABLE t_ AS SELECT {everything} FROM {table}; DROP TABLE {table};"
        f"CREATE VIEW {table} AS "
        f"SELECT {', '.join(rest)}{',' if rest else ''} hex(zeroblob(400000000)) AS {column} FROM t_",
        "loose": f"CREATE TABLE t_ AS SELECT * FROM {table}; DROP TABLE {table};"
        f"ALTER TABLE t_ RENAME TO {table};"
        f"INSERT INTO {table} SELECT * FROM {table}",
        "swap": f"DROP TABLE {table}; CREATE TABLE {table} (a, b, c)",
        "trigger": f"CREATE TRIGGER planted AFTER INSERT ON {table} BEGIN "
        f"INSERT INTO kernels SELECT NULL, i, i, i, i "
        f"FROM ({ENDLESS}); END",
        "version": f"UPDATE alembic_version SET version_num = {rng.choice(['NULL', '0', 'x', '99999999'])!r}",
        "index": f"DROP INDEX IF EXISTS {rng.choice(['ix_trials_best', 'ix_trials_identity'])}",
    }[kind]
    try:
        plain.executescript(script)
    except sqlite3.Error:
        pass  # what cannot be done is no attack
    plain.close()
    return f"{kind} {table}.{column}"


def break_values(path: Path, rng: random.Random) -> str:
    said = []
    plain = unguarded(path)
    for _ in range(rng.choice([1, 1, 3])):
        table = rng.choice(TABLES)
        columns = [row[1] for row in plain.execute(f"PRAGMA table_info({table})")]
        column, value = rng.choice(columns), rng.choice(NASTY)
        where = rng.choice(["", " WHERE rowid = 1", " WHERE rowid % 2 = 1"])
        written = (
            f"CAST(x'{value.hex()}' AS {rng.choice(['TEXT', 'BLOB'])})" if isinstance(value, bytes) else "?"
        )
        arguments = () if isinstance(value, bytes) else (value,)
        try:
            plain.execute(f"UPDATE {table} SET {column} = {written}{where}", arguments)
        except sqlite3.Error:
            continue  # NOT NULL and UNIQUE hold
        said.append(f"{table}.{column} = {str(value)[:30]!r}{where}")
    plain.close()
    return "; ".join(said)


BREAKERS = {"bytes": break_bytes, "schema": break_schema, "values": break_values}


@pytest.fixture(autouse=True)
def _no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tuner devices` measures those of this machine, which is not what is tried here."""
    monkeypatch.setattr(registry, "device_classes", lambda: {})


def attack(seed_database: Path, work: Path, kind: str, seed: int, commands_each: int) -> list[str]:
    rng = random.Random(f"{kind}/{seed}")
    broken = work / "broken.db"
    broken.write_bytes(seed_database.read_bytes())
    how = BREAKERS[kind](broken, rng)
    found = problems(broken, work, lambda all_: rng.sample(all_, min(commands_each, len(all_))))
    return [f"{kind} {seed} ({how}): {problem}" for problem in found]


def all_commands_answer(path: Path, work: Path) -> list[str]:
    return list(problems(path, work, list))


def test_a_whole_database_is_answered_by_every_command(seed_database: Path, tmp_path: Path) -> None:
    """What the attacks below are compared with: the commands do read."""
    assert all_commands_answer(seed_database, tmp_path) == []
    assert "cpp_naive" in invoke(["best", "--db", str(seed_database)]).output
    sweep_start(seed_database)


@pytest.mark.parametrize("kind", BREAKERS)
def test_a_broken_database_is_one_line(seed_database: Path, tmp_path: Path, kind: str) -> None:
    wrong = [p for seed in range(25) for p in attack(seed_database, tmp_path, kind, seed, 3)]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", BREAKERS)
def test_thousands_of_broken_databases(seed_database: Path, tmp_path: Path, kind: str) -> None:
    until = time.monotonic() + float(os.environ.get("TUNER_FUZZ_S", "100"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong: list[str] = []
    seed = 1000
    while time.monotonic() < until:
        wrong += attack(seed_database, tmp_path, kind, seed, 5)
        seed += 1
    assert wrong[:20] == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB: 1 GiB


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ["plain", "endless"])
def test_a_view_in_place_of_a_table_is_refused(
    seed_database: Path, tmp_path: Path, table: str, kind: str
) -> None:
    path = tmp_path / "view.db"
    path.write_bytes(seed_database.read_bytes())
    query = ENDLESS if kind == "endless" else "SELECT * FROM t_"
    with sqlite3.connect(path) as plain:
        plain.executescript(f"PRAGMA legacy_alter_table = ON; ALTER TABLE {table} RENAME TO t_;"
                            f"CREATE VIEW {table} AS {query}")  # fmt: skip
    with pytest.raises(TunerError, match=f"has a view in place of the table '{table}'"):
        open_store(path)


def test_a_planted_trigger_is_refused(seed_database: Path, tmp_path: Path) -> None:
    path = tmp_path / "trigger.db"
    path.write_bytes(seed_database.read_bytes())
    with sqlite3.connect(path) as plain:
        plain.execute("CREATE TRIGGER planted AFTER INSERT ON sweeps BEGIN DELETE FROM finals; END")
    with pytest.raises(TunerError, match="has a trigger 'planted' on 'sweeps'"):
        open_store(path)


def test_escape_sequences_are_shown_and_not_sent(seed_database: Path, tmp_path: Path) -> None:
    """Every text of every table holds what a terminal would obey; JSON escapes by itself."""
    path = tmp_path / "hostile.db"
    path.write_bytes(seed_database.read_bytes())
    plain = unguarded(path)
    for table, column in [
        ("devices", "name"), ("devices", "kind"), ("devices", "target"), ("kernels", "language"),
        ("toolchains", "name"), ("toolchains", "version"), ("sweeps", "searcher"), ("sweeps", "note"),
        ("sweeps", "target"), ("trials", "artifact"), ("trials", "target"), ("campaigns", "title"),
        ("campaigns", "experiment"), ("campaigns", "command"), ("campaign_kernels", "language"),
        ("campaign_kernels", "skipped"), ("campaign_exclusions", "reason"),
    ]:  # fmt: skip
        plain.execute(f"UPDATE {table} SET {column} = ?", (f"{column}{ESCAPE}",))
    plain.execute("UPDATE kernels SET name = name || ?", (ESCAPE,))
    plain.execute("UPDATE campaign_kernels SET kernel = kernel || ?", (ESCAPE,))
    plain.execute("UPDATE trials SET error = ? WHERE status <> 'ok'", (ESCAPE * 2,))
    hostile = ESCAPE.encode("unicode_escape").decode().replace("\\x", "\\u00")
    plain.execute(
        "UPDATE trials SET metrics = ?, config = ?", (f'{{"{hostile}":1}}', f'{{"MC":"{hostile}"}}')
    )
    plain.close()
    assert all_commands_answer(path, tmp_path) == []
    shown = invoke(["show", "t1", "--db", str(path)]).output
    assert "\\x1b]0;owned" in shown
    assert "\\x1b]0;owned" in invoke(["best", "--db", str(path)]).output
