"""Damaged and hostile files: one line that says what is wrong, nothing executed, nothing exhausted."""

import gzip
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.interchange.spaces import kernel_tuner_cache, t4
from tuner.cli import app
from tuner.core.errors import InterchangeError
from tuner.interchange import _reading, read_recorded
from tuner.store.store import open_store


def refused(path, match):
    with pytest.raises(InterchangeError, match=match) as caught:
        read_recorded(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    assert message.isprintable()


def cut(edit) -> str:
    """A cache with one thing wrong."""
    return edited(kernel_tuner_cache, edit)


def edited(make, edit):
    content = make()
    edit(content)
    return json.dumps(content)


def entry(content, key="16,False,15"):
    return content["cache"][key]


CASES = {
    "not an object": ("[1, 2]", "neither a Kernel Tuner cache"),
    "empty": ("", "is empty"),
    "text": ("time = 3", "not JSON"),
    "truncated": (json.dumps(kernel_tuner_cache())[:300], "truncated"),
    "nan": (json.dumps(kernel_tuner_cache()).replace("0.3337", "NaN"), "number NaN"),
    "infinite": (json.dumps(kernel_tuner_cache()).replace("0.33,", "1e999,"), "not a time"),
    "digits": (json.dumps(kernel_tuner_cache()).replace("0.3337", "9" * 5000), "too many digits"),
    "deep": ("[" * 100_000 + "]" * 100_000, "nests too deeply"),
    "key twice": ('{"cache": {}, "cache": {}}', "'cache' twice"),
    "configuration twice": (
        json.dumps(kernel_tuner_cache()).replace('"32,False,15"', '"16,False,15"'), "'16,False,15' twice"
    ),
    "version": (cut(lambda c: c.update(schema_version="2.0.0")), "version '2.0.0'; known"),
    "t4 version": (edited(t4, lambda c: c.update(schema_version="1.1.0")), "version '1.1.0'; known: 1.0.0"),
    "t4 no version": (edited(t4, lambda c: c.pop("schema_version")), "lacks 'schema_version'"),
    "no parameters": (cut(lambda c: c.pop("tune_params_keys")), "lacks 'tune_params_keys'"),
    "no values": (cut(lambda c: c["tune_params"].pop("pad")), "lacks the values"),
    "missing parameter": (cut(lambda c: entry(c).pop("pad")), "lacks parameter 'pad'"),
    "other value": (cut(lambda c: entry(c).update(block_x=32)), "than its key says"),
    "value off the list": (
        cut(lambda c: c["tune_params"].update(block_x=[16, 32])), "block_x: 64 is not one of"
    ),
    "negative time": (cut(lambda c: entry(c).update(times=[-1.0])), "not a time: -1.0"),
    "zero time": (cut(lambda c: entry(c).update(time=0)), "not a time: 0"),
    "time of a list": (cut(lambda c: entry(c).update(time=[1])), "'time' cannot be"),
    "no time": (cut(lambda c: entry(c).pop("time")), "lacks 'time'"),
    "no date": (cut(lambda c: entry(c).update(timestamp="soon")), "not an ISO 8601"),
    "path as a name": (
        cut(lambda c: c.update(tune_params_keys=["../../etc/passwd"])), "is not a name"
    ),
    "control characters": (
        cut(lambda c: c.update(device_name="a\x1b[2J\nb")), "'device_name' cannot be"
    ),
    "object as a value": (
        cut(lambda c: c["tune_params"].update(pad=[{}])), "not a parameter's value"
    ),
    "a size of 400 digits": (cut(lambda c: c.update(problem_size=[10**400])), "problem size"),
    "a value of 400 digits": (
        cut(lambda c: c["tune_params"].update(pad=[10**400])), "not a parameter's value"
    ),
    "a date before the first": (
        cut(lambda c: entry(c).update(timestamp="0001-01-01 00:00:00+23:00")), "not an ISO 8601"
    ),
    "lists in lists": (
        cut(lambda c: entry(c).update(time=json.loads("[" * 900 + "]" * 900))), "'time' cannot be"
    ),
    "no configurations": (cut(lambda c: c.update(cache={})), "no configurations"),
    "t4 no results": (edited(t4, lambda c: c.update(results=[])), "no results"),
    "t4 nan": (json.dumps(t4()).replace("3.87", "NaN"), "number NaN"),
    "t4 truncated": (json.dumps(t4())[:-30], "truncated"),
    "t4 duplicate": (edited(t4, lambda c: c["results"].append(c["results"][0])), "listed twice"),
    "t4 missing parameter": (
        edited(t4, lambda c: c["results"][1]["configuration"].pop("layout")), "0 and 1 do not both"
    ),
    "t4 unit": (edited(t4, lambda c: c["metadata"].update(timeunit="fortnights")), "'fortnights' is none of"),
    "t4 invalidity": (edited(t4, lambda c: c["results"][0].update(invalidity="maybe")), "'maybe' is none of"),
    "t4 contradiction": (
        edited(t4, lambda c: c["results"][0].update(correctness=0)), "'correct' with correctness 0"
    ),
    "t4 no times": (
        edited(t4, lambda c: (c["results"][0]["times"].pop("runtimes"), c["results"][0].pop("measurements"))),
        "neither runtimes nor a time",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_content_is_refused_in_one_line(tmp_path, case):
    text, match = CASES[case]
    path = tmp_path / "bad.json"
    path.write_text(text)
    refused(path, match)


def test_a_missing_file_and_a_folder(tmp_path):
    refused(tmp_path / "none.json", "does not exist")
    refused(tmp_path, "cannot be read")


def test_a_truncated_gzip_file(tmp_path):
    whole = gzip.compress(json.dumps(kernel_tuner_cache()).encode())
    (tmp_path / "a.gz").write_bytes(whole[:-20])
    refused(tmp_path / "a.gz", "breaks off")


def test_a_gzip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(_reading, "MAX_BYTES", 2**20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b" " * (2**24)))
    refused(tmp_path / "bomb.gz", "more than 1 MiB")


def test_a_zipped_file_of_nothing_but_lists_takes_no_memory(tmp_path):
    """367 KB that would be 9.7 GB when parsed: refused by its size, unpacked by the count of its lists."""
    path = tmp_path / "lists.json.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b"[")
        for _ in range(133):
            file.write(b"[]," * 1_000_000)
        file.write(b"0]")
    assert path.stat().st_size < 600_000
    program = (
        "import resource, sys; from pathlib import Path; from tuner.interchange import read_recorded\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "try: read_recorded(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    for made in (path, tmp_path / "lists.json"):
        if made.suffix == ".json":
            made.write_bytes(b"[" + b"[]," * 20_000_000 + b"0]")
        done = subprocess.run([sys.executable, "-c", program, made], capture_output=True, text=True)
        assert done.stdout.startswith("InterchangeError"), (done.stdout, done.stderr)
        assert "200 times its size" in done.stdout or "lists and objects" in done.stdout


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    refused(tmp_path / "pipe.json", "no file")
    refused(Path("/dev/zero"), "no file")


def test_ten_million_keys_are_not_parsed(tmp_path):
    path = tmp_path / "keys.json"
    with path.open("w") as file:
        file.write('{"cache": {')
        for i in range(100):
            file.write(",".join(f'"{i}_{j}":0' for j in range(100_000)) + ",")
        file.write('"end":0}}')
    refused(path, "more than 9,000,000 keys")


def test_a_pickle_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "a.json").write_bytes(pickle.dumps(Trap()))
    refused(tmp_path / "a.json", "not a text file|not JSON")
    assert not (tmp_path / "sprung").exists()


def test_a_zipped_pickle_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "a.json.gz").write_bytes(gzip.compress(pickle.dumps(Trap())))
    refused(tmp_path / "a.json.gz", "not a text file|not JSON")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("case", ["truncated", "nan", "version", "path as a name", "t4 duplicate"])
def test_a_bad_file_among_good_ones_changes_nothing(tmp_path, case):
    db = str(tmp_path / "r.db")
    with open_store(db) as store:
        before = store.count(), len(store.sweeps()), len(store.devices())
    (tmp_path / "good.json").write_text(json.dumps(kernel_tuner_cache()))
    (tmp_path / "bad.json").write_text(CASES[case][0])
    files = [str(tmp_path / name) for name in ("good.json", "bad.json")]
    result = CliRunner().invoke(app, ["import", *files, "--db", db])
    assert isinstance(result.exception, InterchangeError)
    with open_store(db) as store:
        assert (store.count(), len(store.sweeps()), len(store.devices())) == before


def test_a_file_name_cannot_forge_lines(tmp_path):
    path = tmp_path / "a\nERROR: all lost.json"
    path.write_text("{")
    refused(path, "truncated")
