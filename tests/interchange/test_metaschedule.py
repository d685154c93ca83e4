"""MetaSchedule's databases: what is damaged or hostile is refused in one line that names the place."""

import json
import pickle

import pytest

from tuner.core.errors import InterchangeError
from tuner.core.measurement import Status
from tuner.engine.recorded.traces import import_traces
from tuner.interchange.metaschedule import RECORDS, WORKLOADS, is_database, read_database
from tuner.store.store import open_store

PROGRAM = json.dumps(["123", "e30="])
TRACE = [[["SamplePerfectTile", ["l1"], [2, 16], ["v2", "v3"]]], [[0, [1, 2]]]]
TARGET = {"kind": "llvm", "mcpu": "x86-64-v3"}
ARGUMENTS = [["TENSOR", "float32", [4, 4]]] * 3


def record(program=0, trace=TRACE, times=(0.5, 0.25), target=TARGET, arguments=ARGUMENTS):
    return json.dumps([program, [trace, list(times), target, arguments]])


def write(folder, programs=PROGRAM, records=None):
    (folder / WORKLOADS).write_text(programs)
    (folder / RECORDS).write_text(record() if records is None else records)
    return folder


def test_times_of_one_trace_are_kept_together_and_a_failure_is_one(tmp_path):
    failed = record(trace=[[], []], times=[1e10])
    write(tmp_path, records="\n".join([record(), record(times=[0.125]), failed, ""]))
    assert is_database(tmp_path) and is_database(tmp_path / RECORDS) and not is_database(tmp_path / "a.json")
    first, second = read_database(tmp_path / RECORDS)
    assert first.samples == (0.5, 0.25, 0.125) and second.samples == ()
    assert first.target_name == "cpu:x86_64_v3"
    with open_store(str(tmp_path / "a.db")) as store:
        (found,) = import_traces(store, [first, second])
        statuses = {t.measurement.status for t in store.sweep_history(found.sweep)}
    assert (found.added, statuses) == (2, {Status.OK, Status.BUILD_ERROR})


def test_a_last_line_that_is_cut_is_left_out_and_said(tmp_path):
    notes = []
    write(tmp_path, records=record() + "\n" + record(times=[7.0])[:-30])
    (only,) = read_database(tmp_path, notes.append)
    assert only.samples == (0.5, 0.25)
    assert len(notes) == 1 and "tuning_record.json line 2 is cut" in notes[0]
    # Of the programs: what is of the one that is cut is left out too.
    write(tmp_path, programs=PROGRAM + "\n" + PROGRAM[:-3], records=record() + "\n" + record(program=1))
    notes.clear()
    assert len(read_database(tmp_path, notes.append)) == 1
    assert "database_workload.json line 2 is cut" in notes[0] and "1 records of the program" in notes[1]


BAD = {
    "no json": ("time = 3", "line 1 is truncated|line 1 is not JSON"),
    "truncated": (record()[:-30], "line 1 is truncated"),
    "truncated in the middle": (record()[:-30] + "\n" + record(), "line 1 is truncated"),
    "no pair": ("[0]", r"not \[program"),
    "no such program": (record(program=7), "no program 7"),
    "negative program": (record(program=-1), "no program -1"),
    "no trace": (record(trace=[1]), "not a trace"),
    "instruction": (record(trace=[[["A", [], []]], []]), "instruction 0"),
    "decision": (record(trace=[[], [[5, 1]]]), "decision 0"),
    "no times": (record(times=[]), "not a list of seconds"),
    "negative time": (record(times=[-1]), "not a time"),
    "text time": (record(times=["fast"]), "not a number"),
    "nan": (record().replace("0.25", "NaN"), "not JSON"),
    "target": (record(target=[]), "the target"),
    "argument": (record(arguments=[["TENSOR", "float32", [-4]]]), "an argument"),
    "arguments": (record(arguments=7), "an argument"),
    "dtype": (record(arguments=[["TENSOR", "../etc", [4]]]), "dtype"),
    "deep": ("[" * 100_000 + "]" * 100_000, "nests too deeply|not JSON"),
    "empty": ("\n\n", "no records"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_records_are_refused_in_one_line(tmp_path, case):
    text, match = BAD[case]
    write(tmp_path, records=text)
    with pytest.raises(InterchangeError, match=match) as caught:
        read_database(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "text",
    ["[]", '["x", "e30="]', '["1", "not base64!"]', '["1", 2]', '{"1": 2}', '["' + "9" * 30 + '", ""]'],
)
def test_bad_programs_are_refused(tmp_path, text):
    with pytest.raises(InterchangeError, match="line 1"):
        read_database(write(tmp_path, programs=text))


def test_a_module_is_never_decoded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    import base64

    write(tmp_path, programs=json.dumps(["5", base64.b64encode(pickle.dumps(Trap())).decode()]))
    with open_store(str(tmp_path / "a.db")) as store:
        import_traces(store, read_database(tmp_path))
    assert not (tmp_path / "sprung").exists()


def test_half_a_database(tmp_path):
    (tmp_path / RECORDS).write_text(record())
    with pytest.raises(InterchangeError, match="a database is two files"):
        read_database(tmp_path)
    (tmp_path / WORKLOADS).write_bytes(b"\xff\xfe")
    with pytest.raises(InterchangeError, match="UTF-8"):
        read_database(tmp_path)
