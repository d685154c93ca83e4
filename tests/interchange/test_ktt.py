"""Recordings of KTT: its own results, and its exports to T4, in whichever unit they say."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from tests.interchange.spaces import kernel_tuner_cache, t4
from tests.interchange.test_hostile import refused
from tuner.cli import app
from tuner.core.measurement import Status
from tuner.interchange import read_recorded
from tuner.store.store import open_store

STAMP = "2024-05-01 12:34:56.123456789 UTC"


def run(block, duration, status="Ok", **more):
    return {
        "KernelName": "mtran", "Status": status, "TotalDuration": duration, "TotalOverhead": 5.0,
        "Configuration": [{"Name": "BLOCK", "Type": "UnsignedInt", "Value": block},
                          {"Name": "PAD", "Type": "Bool", "Value": True}],
        "ComputationResults": [{
            "KernelFunction": "mtran", "Duration": duration,
            "CompilationData": {"RegistersCount": 24, "LocalMemorySize": 4096, "MaxWorkGroupSize": 256},
            "ProfilingData": {"Counters": [{"Name": "dram.sum", "Type": "UnsignedInt", "Value": 12}]},
        }], **more,
    }  # fmt: skip


def results(unit="Microseconds"):
    """As JsonSerializer writes them."""
    header = {"ComputeApi": "CUDA", "Device": "NVIDIA A100", "Timestamp": STAMP, "TimeUnit": unit}
    return {
        "Metadata": {k: v for k, v in header.items() if v is not None},
        "Results": [
            run(16, 770.0, CompilationOverhead=250_000.0), run(16, 774.0), run(32, 400.0),
            run(64, 1.8e19, "CompilationFailed"), run(128, 10.0, "ValidationFailed"),
            run(256, 1.8e19, "DeviceLimitsExceeded"),
        ],
    }  # fmt: skip


def ktt_script_t4():
    """As KTT's script converts its results: no metadata, the unit beside the measurement."""

    def one(block, value, invalidity="correct"):
        return {
            "timestamp": STAMP, "configuration": {"BLOCK": block}, "objectives": ["TotalDuration"],
            "times": {"compilation_time": 250_000.0, "runtimes": [value], "framework": 1,
                      "search_algorithm": 1, "validation": 0},
            "invalidity": invalidity, "correctness": int(invalidity != "correctness"),
            "measurements": [{"name": "TotalDuration", "value": value, "unit": "Microseconds"},
                             {"name": "dram.sum", "value": 12, "unit": ""}],
        }  # fmt: skip

    return {"schema_version": "1.0.0", "results": [one(16, 770.0), one(32, 400.0), one(64, 1e19, "compile")]}


def ktt_own_t4():
    """As KTT's serializer writes T4: the unit in the metadata, values as texts."""
    content = ktt_script_t4()
    content["metadata"] = {"autotuner": "KTT", "device": "NVIDIA A100", "timeunit": "microseconds"}
    for result in content["results"]:
        result["configuration"] = {k: str(v) for k, v in result["configuration"].items()}
        result["objectives"] = ["time"]
        result["measurements"] = [{"name": "time", "value": result["times"]["runtimes"][0], "unit": ""}]
    return content


def read(tmp_path, content, name="mtran.json"):
    path = tmp_path / name
    data = json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return read_recorded(path)


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_results_are_read_with_all_runs_of_a_configuration(tmp_path, name):
    space = read(tmp_path, results(), name)
    assert (space.kernel, space.device, [p.name for p in space.parameters]) == (
        "mtran",
        "NVIDIA A100",
        ["BLOCK", "PAD"],
    )
    first, second, *failed = space.trials
    assert first.samples == (770e-6, 774e-6) and first.objective_s == pytest.approx(772e-6)
    assert first.build_s == pytest.approx(0.25) and second.samples == (400e-6,)
    assert first.metrics == {"registers": 24, "shared_bytes": 4096, "dram.sum": 12}
    assert [t.status for t in failed] == [Status.BUILD_ERROR, Status.WRONG_RESULT, Status.OVER_RESOURCES]
    assert all(not t.samples for t in failed)
    assert first.timestamp.startswith("2024-05-01 12:34:56") and first.timestamp.endswith("+00:00")


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [
        (None, 400e-9),
        ("Nanoseconds", 400e-9),
        ("Microseconds", 400e-6),
        ("Milliseconds", 0.4),
        ("Seconds", 400.0),
    ],
)
def test_durations_are_in_the_unit_of_the_header_or_nanoseconds(tmp_path, unit, seconds):
    assert read(tmp_path, results(unit)).trials[1].objective_s == pytest.approx(seconds)


@pytest.mark.parametrize("make", [ktt_script_t4, ktt_own_t4])
def test_its_t4_is_in_microseconds(tmp_path, make):
    space = read(tmp_path, make())
    first, second, failed = space.trials
    assert first.samples == (pytest.approx(770e-6),) and first.objective_s == pytest.approx(770e-6)
    assert first.build_s == pytest.approx(0.25)
    assert failed.status is Status.BUILD_ERROR and failed.samples == ()
    assert second.config == {"BLOCK": 32} and space.parameters[0].values == (16, 32, 64)
    assert space.notes == ()


def test_a_score_is_not_ranked_without_a_word(tmp_path):
    content = t4()
    for result in content["results"]:
        result["objectives"] = ["GFLOP/s"]
        result["measurements"] = [{"name": "GFLOP/s", "value": 1948.0, "unit": "GFLOP/s"}]
    space = read(tmp_path, content)
    assert space.trials[0].objective_s == pytest.approx((3.976191997528076 + 3.87) / 2e3)
    assert space.trials[0].metrics == {"GFLOP/s": 1948.0}
    assert len(space.notes) == 1 and "'GFLOP/s', a score" in space.notes[0]
    del content["results"][0]["times"]["runtimes"]
    (tmp_path / "b.json").write_text(json.dumps(content))
    refused(tmp_path / "b.json", "neither runtimes nor a time: its objective 'GFLOP/s' is none")


def test_a_time_in_a_unit_that_is_none(tmp_path):
    content = ktt_script_t4()
    content["results"][0]["measurements"][0]["unit"] = "fortnights"
    (tmp_path / "a.json").write_text(json.dumps(content))
    refused(tmp_path / "a.json", "unit 'fortnights' is none of")


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda c: c["Metadata"].update(TimeUnit="Fortnights"), "'Fortnights' is none of"),
        (lambda c: c["Results"][0].update(Status="Splendid"), "'Splendid' is none of"),
        (lambda c: c["Results"][0].update(KernelName="other"), "several kernels"),
        (lambda c: c["Results"][0].pop("TotalDuration"), "lacks 'TotalDuration'"),
        (lambda c: c["Results"][0].update(TotalDuration=-1), "not a time"),
        (lambda c: c["Results"][0].update(Configuration={"BLOCK": 1}), "'Configuration' cannot be"),
        (lambda c: c["Results"][0]["Configuration"].pop(), "do not both have parameter 'PAD'"),
        (lambda c: c["Results"][0]["Configuration"].append({"Name": "BLOCK", "Value": 1}), "'BLOCK' twice"),
        (lambda c: c["Results"][0]["Configuration"][0].pop("Value"), "lacks 'Value'"),
        (lambda c: c.update(Results=[]), "no results"),
        (lambda c: c.update(Metadata=7), "'Metadata' cannot be"),
    ],
)
def test_bad_results_are_refused_in_one_line(tmp_path, edit, match):
    content = results()
    edit(content)
    (tmp_path / "a.json").write_text(json.dumps(content))
    refused(tmp_path / "a.json", match)


@pytest.mark.parametrize("left", [1, 2, 3, 30, 150, 300, 600])
@pytest.mark.parametrize("comma", ["", ",", ",\n"])
def test_a_cache_that_is_being_written_is_read_as_far_as_it_is_whole(tmp_path, left, comma):
    whole = json.dumps(kernel_tuner_cache())
    (tmp_path / "whole.json").write_text(whole)
    (tmp_path / "part.json").write_text(whole[:-left] + (comma if left == 2 else ""))
    every, part = read_recorded(tmp_path / "whole.json"), read_recorded(tmp_path / "part.json")
    assert part.trials == every.trials[: len(part.trials)] and len(part.trials) >= 2
    assert part.parameters == every.parameters
    assert (len(part.trials) == 5) == (left <= 2)
    assert len(part.notes) == 1 and f"the {len(part.trials)} whole configurations" in part.notes[0]
    assert ("left out" in part.notes[0]) == (left > 2)


def test_what_was_left_out_is_said_on_stderr_and_in_the_json(tmp_path):
    path, db = tmp_path / "part.json", str(tmp_path / "r.db")
    path.write_text(json.dumps(kernel_tuner_cache())[:-150])
    done = CliRunner().invoke(app, ["import", str(path), "--db", db, "--json"])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("warning: ") and done.stderr.count("\n") == 1
    (row,) = json.loads(done.stdout)
    assert "whole configurations were read" in row["notes"][0] and row["added"] >= 2
    with open_store(db) as store:
        assert store.count() == row["added"]
    # The finished file adds the rest.
    path.write_text(json.dumps(kernel_tuner_cache()))
    again = CliRunner().invoke(app, ["import", str(path), "--db", db, "--json"])
    assert json.loads(again.stdout)[0]["notes"] == [] and again.stderr == ""
