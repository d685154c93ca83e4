"""Kernel Tuner caches and FAIR T4 files: read strictly, written so that they read back the same."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.interchange.spaces import kernel_tuner_cache, t4
from tuner.core.errors import InterchangeError, TunerError, UnknownName
from tuner.core.measurement import Status
from tuner.core.recorded import RecordedSpace, RecordedTrial
from tuner.core.space import Parameter
from tuner.interchange import FORMATS, read_recorded, write_recorded
from tuner.interchange.gpu_facts import are_twins, numbers
from tuner.interchange.tables import write_table
from tuner.interchange.trials import from_trials, to_trials

REPLAY = Path(__file__).resolve().parents[2].parent / "shared" / "replay"


def write(path: Path, content) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_kernel_tuner_cache_keeps_times_failures_and_costs(tmp_path):
    recorded = read_recorded(write(tmp_path / "a.json", kernel_tuner_cache()))
    assert recorded.label == "convolution_kernel 4096x4096 on NVIDIA GeForce RTX 3090"
    assert [p.values for p in recorded.parameters] == [(16, 32, 48, 64), (False, True), (15,)]
    first = recorded.outcome({"block_x": 16, "pad": False, "filter": 15})
    assert first.samples == (0.0011, 0.0012, 0.0013) and first.objective_s == 0.0012
    assert first.build_s == 0.2505 and first.run_s == 0.01225
    assert first.metrics == {"GFLOP/s": 1948.15}
    statuses = {(t.config["block_x"], t.config["pad"]): (t.status, t.error) for t in recorded.trials}
    assert statuses[16, True] == (Status.BUILD_ERROR, "CompilationFailedConfig")
    assert statuses[64, True] == (Status.RUN_ERROR, "RuntimeFailedConfig")
    assert statuses[64, False] == (Status.RUN_ERROR, "recorded as a time of 1e+20")
    assert recorded.optimum_s == 0.0003337


def test_a_t4_file_keeps_times_failures_and_costs(tmp_path):
    recorded = read_recorded(write(tmp_path / "conv-a100.t4.json", t4()), device="NVIDIA A100")
    assert recorded.kernel == "conv-a100" and recorded.device == "NVIDIA A100"
    assert recorded.parameters == (Parameter("block_x", (16, 32, 64, 128)), Parameter("layout", ("row",)))
    assert [t.status for t in recorded.trials] == [
        Status.OK, Status.RUN_ERROR, Status.BUILD_ERROR, Status.WRONG_RESULT,
    ]  # fmt: skip
    assert recorded.trials[0].samples == (0.003976191997528076, 0.00387)
    assert recorded.trials[0].objective_s == 0.0039
    # No benchmark time is recorded: its runs are what it took.
    assert recorded.trials[0].run_s == pytest.approx(0.007846, rel=1e-4)


def every_status() -> RecordedSpace:
    """Times that were never milliseconds, every status, every type of parameter."""
    trials = []
    for i, status in enumerate(Status):
        timed = status in (Status.OK, Status.PRUNED)
        trials.append(
            RecordedTrial(
                {"n": i, "f": 0.5 * i, "flag": bool(i % 2), "word": "a,b"}, status,
                (1 / 3, 0.1 + 0.2) if timed else (), 0.123456789012345678 if timed else None,
                "" if status is Status.OK else f"it ended as {status}",
                {"compile": 1 / 7, "benchmark": 2 / 3},
                "2026-01-02 03:04:05+00:00", {"registers": 32.0},
            )
        )  # fmt: skip
    values = range(len(trials))
    parameters = (
        Parameter("n", tuple(values)), Parameter("f", tuple(0.5 * i for i in values)),
        Parameter("flag", (False, True)), Parameter("word", ("a,b",)),
    )  # fmt: skip
    return RecordedSpace("gemm", "Some GPU / 2", (64, 32), parameters, tuple(trials), {"sms": 82.0})


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_t4_written_and_read_is_the_same_to_the_last_bit(tmp_path, ending):
    recorded = every_status()
    write_recorded(recorded, tmp_path / f"x{ending}", "t4")
    assert read_recorded(tmp_path / f"x{ending}") == recorded


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("make", [kernel_tuner_cache, t4])
def test_what_was_read_is_written_and_read_the_same(tmp_path, make, format):
    recorded = read_recorded(write(tmp_path / "in.json", make()))
    write_recorded(recorded, tmp_path / "out.json", format)
    again = read_recorded(tmp_path / "out.json")
    assert again == recorded
    write_recorded(again, tmp_path / "twice.json", format)
    assert (tmp_path / "twice.json").read_bytes() == (tmp_path / "out.json").read_bytes()


@pytest.mark.parametrize("make", [kernel_tuner_cache, t4])
def test_trials_for_the_store_export_to_the_same_space(tmp_path, make):
    recorded = read_recorded(write(tmp_path / "in.json", make()))
    trials = to_trials(recorded)
    assert len({t.key.digest for t in trials}) == len(recorded.trials)
    assert {str(t.measurement.evidence) for t in trials} == {"replayed"}
    assert trials[0].created_at == datetime(2023, 12, 22, 9, 54, 5, 502007, tzinfo=UTC)
    again = from_trials(trials, recorded.facts, recorded.parameters)
    assert again.trials == recorded.trials
    assert (again.device, again.parameters) == (recorded.device, recorded.parameters)


def test_trials_of_several_devices_do_not_fit_one_file(tmp_path):
    content = kernel_tuner_cache()
    one = to_trials(read_recorded(write(tmp_path / "a.json", content)))
    content["device_name"] = "another"
    other = to_trials(read_recorded(write(tmp_path / "b.json", content)))
    with pytest.raises(InterchangeError, match="one device"):
        from_trials([*one, *other])


@pytest.mark.skipif(not REPLAY.exists(), reason="the recorded spaces lie beside the checkout, not in it")
def test_the_two_formats_of_one_recording_agree():
    cache = read_recorded(REPLAY / "conv2d_milo-a100.json.gz")
    same = read_recorded(REPLAY / "conv2d_milo-a100.t4.json.gz")
    assert len(cache.trials) == 4362
    for trial in cache.trials:
        other = same.outcome(trial.config)
        assert (other.samples, other.objective_s) == (trial.samples, trial.objective_s)
        assert other.status is trial.status


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(UnknownName, match=r"known: kernel-tuner, t4"):
        write_recorded(every_status(), tmp_path / "x", "t5")


def test_a_file_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "no").touch()
    with pytest.raises(TunerError, match="cannot be written"):
        write_recorded(every_status(), tmp_path / "no" / "x.json")


@pytest.mark.parametrize("format", [*FORMATS, "json", "csv"])
def test_no_format_is_written_over_a_database(tmp_path, format):
    database = tmp_path / "results.db"
    database.write_bytes(b"SQLite format 3\0 and all trials")
    with pytest.raises(TunerError, match="is a database, and would be lost"):
        if format in FORMATS:
            write_recorded(every_status(), database, format)
        else:
            write_table(to_trials(every_status()), database, format)
    assert database.read_bytes().endswith(b"all trials")


def test_equal_content_gives_equal_gzip_bytes(tmp_path):
    write_recorded(every_status(), tmp_path / "a.json.gz")
    write_recorded(every_status(), tmp_path / "b.json.gz")
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()).startswith(b"{")


def test_devices_of_one_die_are_twins():
    assert are_twins("NVIDIA GeForce RTX 2080 Ti", "NVIDIA TITAN RTX")
    assert not are_twins("NVIDIA GeForce RTX 2080 Ti", "NVIDIA GeForce RTX 3090")
    assert are_twins("My GPU", "My GPU") and not are_twins("My GPU", "Your GPU")
    assert numbers("NVIDIA A100-PCIE-40GB")["sms"] == 108
    # A laptop's part is not the desktop's, though its name contains it; both are of one die.
    laptop = "NVIDIA GeForce RTX 3060 Laptop GPU"
    assert numbers(laptop)["sms"] == 30 and are_twins(laptop, "NVIDIA GeForce RTX 3060")
    assert numbers("an abacus") == {}
