"""Whether an export still holds: marks by what is measured now, and what has changed since is named."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import tuner
from tests.export.real import stored_here
from tuner.cli import app
from tuner.core.errors import TunerError
from tuner.core.stats import Interval
from tuner.core.turns import Turns
from tuner.engine.program.load import OtherToolchain
from tuner.engine.tuning.finals import Finalist, FinalPlacing, Ranking
from tuner.export.verify import Holding, mark_of, verdict_of, verify
from tuner.interchange.exported import read_entries
from tuner.store.store import open_store

KEY = "gemm/f32/m96-n96-k96"


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """A file with one entry of this machine whose time is made up, and is far too long."""
    db = str(tmp_path / "made.db")
    with open_store(db) as store:
        stored_here(
            store, [(KEY, "cpp_packed", {"MR": 6, "NR": 16, "threads": 1, "UNROLL": 4}, 1.0)], threads=1
        )
    app(["export", "--best", str(tmp_path / "best.json"), "--db", db], standalone_mode=False)
    return tmp_path / "best.json"


def edit(file: Path, **values: object) -> dict:
    content = json.loads(file.read_text())
    (device,) = content["devices"].values()
    device["shapes"][KEY].update(values)
    file.write_text(json.dumps(content))
    return device["shapes"][KEY]


@pytest.mark.slow
def test_a_time_that_was_too_long_is_said_to_be(best: Path) -> None:
    (verdict,) = verify(read_entries(best), 0.1)
    assert verdict.stale == ()
    assert verdict.mark in (Holding.FASTER, Holding.NO_BETTER, Holding.UNDECIDED), (
        verdict
    )  # others may have the cores
    if verdict.mark is Holding.FASTER:
        assert verdict.time_s is not None and verdict.time_s < 0.1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"config": {"MR": 6}}, "missing"),
        ({"config": {"MR": 1.5}}, "missing"),
        ({"kernel": "cpp_pack"}, "unknown kernel"),
        ({"workload": "gemm/f32/m0-n1-k1"}, "m"),
        ({"workload": "gemm/f9/m1-n1-k1"}, "dtype"),
        ({"device_kind": "cuda"}, "GPU"),
        ({"evidence": "replayed"}, "recording of elsewhere"),
        ({"workload": "gemm/f32/m999999999-n999999999-k1"}, "does not fit in memory"),
    ],
)  # fmt: skip
def test_what_cannot_be_timed_here_is_invalid_and_says_why(best: Path, changes: dict, why: str) -> None:
    edit(best, **changes)
    (verdict,) = verify(read_entries(best), 0.1)
    assert verdict.mark is Holding.INVALID and why in verdict.why and verdict.time_s is None


def test_what_has_changed_since_is_named(best: Path) -> None:
    edit(best, kernel_digest="old", toolchain="old", toolchain_name="g++", toolchain_version="9.1",
         fingerprint="other", device="Another chip", config={})  # fmt: skip
    (verdict,) = verify(read_entries(best), 0.1)
    source, toolchain, device = verdict.stale
    assert source == "the source of kernel cpp_packed has changed"
    assert toolchain.startswith("built by g++ 9.1 then, by ")
    assert device == "measured on Another chip"


def ranking(tuned: float | None, default: float | None, **more: Any) -> Ranking:
    """A final of two: seconds, or `None` for one that was thrown out."""
    standings = [
        FinalPlacing(Finalist(name, n, None), Turns((s,) * 6 if s else ()), "" if s else "it crashed")  # type: ignore[arg-type]
        for n, (name, s) in enumerate((("tuned", tuned), ("default", default)))
    ]
    winner = 0 if default is None or (tuned or 9) <= default else 1
    return Ranking(tuple(standings), 1, **{"winner": winner, "tied": (), **more})


@pytest.mark.parametrize(
    ("final", "elsewhere", "mark"),
    [
        (ranking(1.0, 2.0), False, Holding.HOLDS),
        (ranking(0.5, 2.0), False, Holding.FASTER),
        (ranking(1.5, 2.0), False, Holding.SLOWER),
        (ranking(1.5, 2.0), True, Holding.HOLDS),  # what was said is of another machine
        (ranking(1.0, 0.9), False, Holding.NO_BETTER),
        (ranking(1.0, 1.01, tied=(1,)), False, Holding.NO_BETTER),
        (ranking(1.0, None), False, Holding.HOLDS),
        (ranking(None, 1.0), False, Holding.INVALID),
        (ranking(1.0, 2.0, disturbed="other programs had the cores"), False, Holding.UNDECIDED),
    ],
)
def test_what_a_final_says(best: Path, final: Ranking, elsewhere: bool, mark: Holding) -> None:
    (entry,) = read_entries(best)  # 1 s was said
    assert verdict_of(entry, final, False, elsewhere, 0.1).mark is mark


@pytest.mark.parametrize(
    ("time_s", "mark"),
    [
        (1.0, Holding.HOLDS),
        (1.09, Holding.HOLDS),
        (1.2, Holding.SLOWER),
        (0.92, Holding.HOLDS),
        (0.8, Holding.FASTER),
    ],
)
def test_marks(time_s: float, mark: Holding) -> None:
    assert mark_of(Interval(time_s, time_s, time_s), Interval(1.0, 1.0, 1.0), 0.1) is mark


def test_a_time_has_moved_only_where_the_intervals_are_apart() -> None:
    wide = Interval(0.9, 1.0, 1.8)  # a busy machine's
    assert mark_of(Interval(1.15, 1.2, 1.3), wide, 0.1) is Holding.UNDECIDED
    assert mark_of(Interval(2.0, 2.1, 2.2), wide, 0.1) is Holding.SLOWER
    assert mark_of(Interval(0.7, 0.75, 0.79), wide, 0.1) is Holding.FASTER
    assert mark_of(Interval(0.95, 1.05, 1.5), wide, 0.1) is Holding.HOLDS


def test_the_command_ends_with_1_where_an_entry_does_not_hold(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(best, kernel="cpp_pack")
    assert app(["verify-export", str(best)], standalone_mode=False) == 1
    told = capsys.readouterr().out
    assert "invalid here [1]" in told and "[1] unknown kernel 'cpp_pack'" in told
    assert told.splitlines()[-1].endswith("best.json: 1 entry: 1 invalid here.")


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"threads": 0}, "0 is no number of threads"), ({"threads": True}, "True is no number of threads"),
     ({"threads": 10**18}, "no number of threads"),
     ({"cache": "hot"}, "cache is model, warm or cold, not 'hot'"),
     ({"cache": "model", "between_bytes": -1}, "-1 is no number of bytes")],
)  # fmt: skip
def test_an_entry_with_impossible_conditions_is_refused(best: Path, changed: dict, said: str) -> None:
    edit(best, **changed)
    with pytest.raises(TunerError, match=said):
        read_entries(best)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "no file that can be verified"), ("[]", "not an object"), ("{", "truncated"),
        ('{"format": "kernel-tuner-lab/best", "devices": {}}', "has no entries"),
        ('{"format": "kernel-tuner-lab/best", "version": 2, "devices": {}}', "version 2, this lab reads 1"),
        ('{"format": "kernel-tuner-lab/library", "version": "2.0", "entries": []}', "this lab reads 1.0"),
        ('{"format": "kernel-tuner-lab/library", "entries": [1]}', "not an object"),
        ('{"format": "kernel-tuner-lab/library", "entries": [{"config": {}, "time_s": -1}]}',
         "no number of seconds"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(TunerError, match=said):
        read_entries(tmp_path / "file.json")
    with pytest.raises(TunerError, match="folder of no library"):
        read_entries(tmp_path)


def test_load_says_once_that_another_compiler_built_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = str(tmp_path / "made.db")
    with open_store(db) as store:
        stored_here(store, [("gemm/f32/m5-n6-k7", "cpp_naive", {}, 1e-3)])
    monkeypatch.setattr("tuner.builders.host.cxx.compiler_version", lambda compiler: "99.0 of tomorrow")
    with pytest.warns(OtherToolchain, match=r"another compiler or other flags than .*99\.0 of tomorrow"):
        tuner.load("gemm", m=5, n=6, k=7, db=db)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tuner.load("gemm", m=5, n=6, k=7, db=db).exact
