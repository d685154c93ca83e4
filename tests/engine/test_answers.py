"""What a child answers is looked at once: whatever it says costs one trial, never the sweep."""

import json

import pytest

from tests.engine.planted import planted
from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.engine.building import answers
from tuner.engine.building.answers import UnusableAnswer
from tuner.engine.building.build_process import artifact_to_plain
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.processes.channel import ChannelGarbage, decode
from tuner.engine.tuning.campaign import default_device

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("16x16x16")

TRIAL = {
    "status": "ok", "samples": [1e-5, 2e-5], "error": "", "calibration": [1e-6, 1e-6], "max_error": 0.5,
    "metrics": {"l2_misses": 3.0}, "run_s": 0.2,
}  # fmt: skip
FAILED = {**TRIAL, "status": "wrong_result", "samples": [], "error": "D[0]", "max_error": None}
POINTER = {"name": "A", "kind": "tensor", "value": None, "fields": []}
NUMBER = {"name": "m", "kind": "int64", "value": 16, "fields": []}
STRUCT = {"name": "struct", "kind": "struct", "value": None, "fields": [POINTER, NUMBER]}
STEP = {"entry": "gemm", "arguments": [POINTER, NUMBER, STRUCT],
        "launch": {"grid": [1, 1, 1], "block": [32, 1, 1], "shared_bytes": 0},
        "metrics": {"registers": 8.0}}  # fmt: skip
ARTIFACT = {**STEP, "path": "/tmp/a.so", "format": "shared_library", "digest": "ab", "threads": 1,
            "toolchain": {"name": "g++", "version": "12", "flags": ["-O3"]}, "before": [STEP]}  # fmt: skip
BUILT = {"status": "ok", "error": "", "artifacts": [ARTIFACT], "build_s": 0.5}

HUGE = 10**400
WRONG_TRIALS = {
    "a text": "done",
    "a list": [],
    "nothing": None,
    "a key is missing": {k: v for k, v in TRIAL.items() if k != "max_error"},
    "a time that is a text": {**TRIAL, "run_s": "late"},
    "a time that is not finite": {**TRIAL, "run_s": float("nan")},
    "a time of a lifetime": {**TRIAL, "run_s": 1e300},
    "no such status": {**TRIAL, "status": "splendid"},
    "a status that is a list": {**TRIAL, "status": ["ok"]},
    "samples of infinity": {**TRIAL, "samples": [float("inf")]},
    "samples of nothing": {**TRIAL, "samples": []},
    "samples of zero": {**TRIAL, "samples": [0.0]},
    "samples of true": {**TRIAL, "samples": [True]},
    "samples of a huge number": {**TRIAL, "samples": [HUGE]},
    "a failure with times": {**FAILED, "samples": [1.0]},
    "a failure with no reason": {**FAILED, "error": ""},
    "an error that is a number": {**FAILED, "error": 7},
    "ok with an error": {**TRIAL, "error": "but"},
    "ok beyond the tolerance": {**TRIAL, "max_error": 1.5},
    "one calibration": {**TRIAL, "calibration": [1.0]},
    "calibration of zero": {**TRIAL, "calibration": [1.0, 0]},
    "metrics of texts": {**TRIAL, "metrics": {"a": "b"}},
    "metrics in a list": {**TRIAL, "metrics": [1]},
    "a metric with an escape sequence": {**TRIAL, "metrics": {"\x1b[2J": 1}},
}
WRONG_BUILDS = {
    "a text": "done",
    "no time": {k: v for k, v in BUILT.items() if k != "build_s"},
    "a time that is a text": {**BUILT, "build_s": "late"},
    "a time that is huge": {**BUILT, "build_s": HUGE},
    "no artifacts": {**BUILT, "artifacts": []},
    "two artifacts": {**BUILT, "artifacts": [ARTIFACT] * 2},
    "artifacts that are texts": {**BUILT, "artifacts": ["/tmp/a.so"]},
    "a status of a run": {**BUILT, "status": "pruned"},
    "a failure with no reason": {**BUILT, "status": "build_error"},
    **{f"no {name}": {**BUILT, "artifacts": [{k: v for k, v in ARTIFACT.items() if k != name}]}
       for name in ARTIFACT},
    **{f"{name} is {value!r}": {**BUILT, "artifacts": [{**ARTIFACT, name: value}]}
       for name in ARTIFACT for value in (3.5, [[]], {"a": {}})},
    **{f"an argument {name}": {**BUILT, "artifacts": [{**ARTIFACT, "arguments": [argument]}]}
       for name, argument in {
           "without fields": {k: v for k, v in POINTER.items() if k != "fields"},
           "that is no struct, with fields": {**POINTER, "fields": [NUMBER]},
           "that is a struct of structs": {**STRUCT, "fields": [STRUCT]},
           "of fields that are a text": {**STRUCT, "fields": "A"},
           "of no kind": {**POINTER, "kind": "double"},
       }.items()},
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_TRIALS)
def test_an_unusable_trial_is_told_of_in_one_line(case):
    with pytest.raises(UnusableAnswer) as caught:
        answers.trial_answer(WRONG_TRIALS[case])
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize("case", WRONG_BUILDS)
def test_an_unusable_build_is_told_of_in_one_line(case):
    with pytest.raises(UnusableAnswer) as caught:
        answers.build_answer(WRONG_BUILDS[case], 1)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_usable_ones_come_through_as_they_are():
    assert answers.trial_answer(TRIAL) == {**TRIAL, "status": Status.OK, "passing": False}
    assert answers.trial_answer(FAILED)["error"] == "D[0]"
    built = answers.build_answer(BUILT, 1)
    (artifact,) = built.artifacts
    assert (built.status, built.error, built.build_s, artifact.entry) == (Status.OK, "", 0.5, "gemm")
    assert len(artifact.before) == 1
    assert answers.greeting({"ok": True, "calls": 3}) == (3, "")
    assert answers.greeting({"ok": False, "error": "wrong"}) == (0, "wrong")


def test_what_a_builder_says_of_an_artifact_is_usable():
    """Not by this file's idea of it: by the one place that writes it."""
    (artifact,) = answers.build_answer(BUILT, 1).artifacts
    said = json.loads(json.dumps(artifact_to_plain(artifact)))
    assert answers.build_answer({**BUILT, "artifacts": [said]}, 1).artifacts == (artifact,)


def test_an_error_text_can_be_stored_and_printed():
    error = answers.trial_answer({**FAILED, "error": "line\n\x1b[31mred \ud800" + "x" * 10**6})["error"]
    assert error.startswith("line\n") and "\x1b" not in error and len(error) <= 20_000
    assert error.encode()


@pytest.mark.parametrize(
    "raw",
    [[], "ok", {"ok": 1}, {"ok": True}, {"ok": True, "calls": 2.5}, {"ok": True, "calls": HUGE}, {"ok": 0}],
)  # fmt: skip
def test_a_finalist_that_does_not_greet(raw):
    with pytest.raises(UnusableAnswer):
        answers.greeting(raw)


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"{", b"\xff", b"", b"9" * 5000, b"[" + b"[]," * 2_000_000 + b"0]"],
    ids=["deep", "cut", "no text", "empty", "digits", "wide"],
)  # fmt: skip
def test_what_is_no_message_is_garbage(body):
    with pytest.raises(ChannelGarbage):
        decode(body)


@pytest.fixture(scope="module")
def workshop():
    with Workshop(default_device("cpu"), Protocol(threads=1, budget_s=0.02), seed=1) as made:
        made.prepare(GEMM, WORKLOAD)
        yield made


def test_an_unusable_answer_of_the_judge_is_no_candidate_s_failure(workshop, tmp_path, monkeypatch):
    kernel = planted(tmp_path, "honest")
    built = workshop.build(kernel, WORKLOAD, {"UNUSED": 0})
    asked = []
    for raw in WRONG_TRIALS.values():
        monkeypatch.setattr(workshop, "_trial", lambda payload, raw=raw: (asked.append(0), raw)[1])
        outcome = workshop.measure(WORKLOAD, built, None, None)
        assert outcome.status is Status.ENVIRONMENT
        assert "the judging process: unusable answer" in outcome.error
    assert len(asked) == 2 * len(WRONG_TRIALS)  # once more each: the next judge may be sound
    monkeypatch.undo()
    assert workshop.measure(WORKLOAD, built, None, None).ok
    built.discard()


# Four bytes of length and as many that are no JSON, into every socket that the process holds.
GARBAGE = """
  right(A, B, D, m, n, k);
  const char* words = "\\x04\\0\\0\\0{{{{";
  for (int d = 3; d < 64; ++d) send(d, words, 8, MSG_DONTWAIT | MSG_NOSIGNAL);
"""


def test_a_runner_that_speaks_no_message_has_crashed_and_says_so(workshop, tmp_path):
    built = workshop.build(
        planted(tmp_path, "garbler", GARBAGE, includes="#include <sys/socket.h>"), WORKLOAD, {"UNUSED": 0}
    )
    assert built.artifact is not None, built.error
    outcome = workshop.measure(WORKLOAD, built, None, None)
    assert outcome.status is Status.CRASH
    assert "unusable answer" in outcome.error and "it was ended" not in outcome.error
    built.discard()


def test_builds_go_on_after_any_answer(workshop, tmp_path, monkeypatch):
    kernel = planted(tmp_path, "builds")
    converse = workshop._workers.converse
    for raw in WRONG_BUILDS.values():
        monkeypatch.setattr(workshop._workers, "converse", lambda *_, raw=raw: raw)
        built = workshop.build(kernel, WORKLOAD, {"UNUSED": 0})
        assert built.status is Status.BUILD_ERROR and "unusable answer" in built.error
        assert built.folder is None
    monkeypatch.setattr(workshop._workers, "converse", converse)
    built = workshop.build(kernel, WORKLOAD, {"UNUSED": 0})
    assert built.status is Status.OK, built.error
    built.discard()


@pytest.mark.parametrize(
    "raw", ["fast", None, float("nan"), -1.0, [[]], HUGE, json.loads("[1e999]"), [0, True], [1.0, 1], [1.0]]
)
def test_peaks_and_calibration_that_are_none(workshop, monkeypatch, raw):
    monkeypatch.setattr(workshop, "_once", lambda *_: raw)
    for ask in (workshop.calibrate, workshop.limits):
        with pytest.raises(TunerError, match="unusable answer"):
            ask()
