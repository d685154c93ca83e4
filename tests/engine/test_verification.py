"""What `tuner verify` says of a file's numbers; finals and the machine are scripted here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from tuner import registry
from tuner.cli import app
from tuner.core.errors import InterchangeError, Unavailable
from tuner.core.reproduction import Mark
from tuner.core.turns import Turns
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.tuning import others, verification
from tuner.engine.tuning.finals import FinalPlacing, Ranking
from tuner.engine.tuning.others import Readings
from tuner.engine.tuning.verification import verify_result
from tuner.interchange.result import read_result

CPU = CpuDevice()
WORKLOAD = registry.operator("gemm").parse("24x24x24")
TIMES = {"cpp_naive": 4e-4, "cpp_tiled": 1e-4, "numpy": 2e-4}


def turns(seconds: float, factor: float = 1.0) -> Turns:
    samples = tuple(seconds * factor * (1 + 0.001 * i) for i in range(18))
    return Turns(samples, (2,) * 9)


def entry(number: int, name: str) -> dict[str, Any]:
    kernel, target = registry.kernel(name), CPU.target_for(1)
    taken = turns(TIMES[name])
    return {
        "kernel": name, "source": kernel.digest, "config": dict(next(iter(kernel.space(WORKLOAD, target)))),
        "toolchain": {"digest": registry.builder_of(kernel, target).toolchain(target).digest, "name": "g++"},
        "trial": number, "baseline": name == "numpy", "samples_s": list(taken.samples),
        "processes": list(taken.processes),
    }  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    final = {"reference": 3, "disturbed": None, "entries": [entry(n, k) for n, k in enumerate(TIMES, 1)]}
    part = {"workload": WORKLOAD.key, "limits": {"calibration_s": 1e-3}, "final": final}
    device = {"kind": "cpu", "name": "this one", "fingerprint": CPU.fingerprint}
    campaign = {
        "device": device, "target": "cpu:avx2", "protocol": {"threads": 1}, "asked": {"rounds": 18},
        "workloads": [part],
    }  # fmt: skip
    return {"format": "kernel-tuner-lab/result", "version": 1, "title": "mine", "campaigns": [campaign]}


class Built:
    artifact = error = "there"
    require_machine = discard = lambda self, *_: None


class Shop:
    """In place of a `Workshop`: builds nothing, and its calibration kernel takes what the test says."""

    calibration: Any = (1e-3, True)
    built: ClassVar[list[str]] = []

    def __init__(self, device: Any, protocol: Any, seed: int) -> None:
        self.device, self.protocol, self.target = device, protocol, device.target_for(protocol.threads)

    def __enter__(self) -> "Shop":
        return self

    def __exit__(self, *_: object) -> None: ...

    def prepare(self, *_: object) -> None: ...

    settle = prepare

    def build(self, kernel: Any, *_: object) -> Built:
        self.built.append(kernel.name)
        return Built()

    def calibration_kind(self, workload: Any) -> str:
        return ""

    def calibrate(self, kind: str) -> Any:
        return self.calibration


Verify = Callable[..., dict[tuple[str, str], Any]]


@pytest.fixture
def verified(document: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    """Verifies the document on a machine where kernels take these times their old time."""
    monkeypatch.setattr(verification, "Workshop", Shop)
    monkeypatch.setattr(Shop, "built", [])

    def run(
        busy: float = 0.0, disturbed: str = "", calibration: Any = (1e-3, True), dropped: str = "",
        **factors: float,
    ) -> Any:  # fmt: skip
        def final(shop: Any, workload: Any, finalists: Any, rounds: int, report: Any) -> Ranking:
            placings = [
                FinalPlacing(f, Turns((), ()), error="its calls took longer by the lab's clock")
                if f.label == dropped
                else FinalPlacing(f, turns(TIMES[f.label], factors.get(f.label, 1.0)))
                for f in finalists
            ]
            return Ranking(tuple(placings), None, None, (), disturbed=disturbed)

        clock = iter([Readings(0.0, 0.0, 0.0), Readings(10.0, 10.0 + 10 * busy, 10.0)])
        monkeypatch.setattr(others, "readings", lambda cores: next(clock))
        monkeypatch.setattr(verification, "run_final", final)
        monkeypatch.setattr(Shop, "calibration", calibration)
        file = tmp_path / "result.json"
        file.write_text(json.dumps(document))
        found = verify_result(read_result(file))
        return {(n.kernel, n.over): n.finding for n in found.numbers}, found

    return run


def test_the_same_machine_reproduces_times_and_speed_ups(verified: Verify) -> None:
    numbers, found = verified()
    assert set(numbers) == {(k, "") for k in TIMES} | {("cpp_naive", "numpy"), ("cpp_tiled", "numpy")}
    assert {f.mark for f in numbers.values()} == {Mark.REPRODUCES} and found.reproduces and not found.remarks


@pytest.mark.parametrize("name", ["cpp_tiled", "numpy"])
def test_who_is_thrown_out_of_a_disturbed_final_is_undecided(verified: Verify, name: str) -> None:
    """Beside a busy loop right kernels were said not to run on this machine."""
    quiet, _ = verified(dropped=name)
    touched = {key for key in quiet if name in key}
    assert touched and {quiet[key].mark for key in touched} == {Mark.NOT_HERE}
    assert all("lab's clock" in quiet[key].why for key in touched)
    busy, found = verified(dropped=name, busy=1.0)
    assert {f.mark for f in busy.values()} == {Mark.UNDECIDED} and not found.reproduces
    assert all("disturbed" in busy[key].why and "lab's clock" in busy[key].why for key in touched)


def test_what_changed_differs_and_drift_of_the_machine_is_divided_out(verified: Verify) -> None:
    numbers, found = verified(cpp_tiled=1.3)
    marks = {key: f.mark for key, f in numbers.items() if f.mark is not Mark.REPRODUCES}
    assert marks == {("cpp_tiled", ""): Mark.DIFFERS, ("cpp_tiled", "numpy"): Mark.DIFFERS}
    assert numbers["cpp_tiled", "numpy"].ratio.mid == pytest.approx(1 / 1.3) and not found.reproduces
    slow = dict.fromkeys(TIMES, 1.08)
    assert verified(**slow, calibration=(1.08e-3, True))[1].reproduces
    assert not verified(**slow)[1].reproduces


@pytest.mark.parametrize(
    "how",
    [{"disturbed": "others had the cores"}, {"busy": 0.5}, {"calibration": (1e-3, False)},
     {"calibration": (1.3e-3, True)}, {"calibration": (0.7e-3, True)}],
)  # fmt: skip
def test_a_busy_machine_decides_nothing(verified: Verify, how: dict[str, Any]) -> None:
    """Neither what is as it was, nor what is not."""
    numbers, found = verified(cpp_tiled=1.5, **how)
    assert {f.mark for f in numbers.values()} == {Mark.UNDECIDED} and not found.reproduces
    assert all(f.why.startswith("disturbed") for f in numbers.values())


def test_a_number_that_was_disturbed_then_is_not_decided_now(verified: Verify, document: Any) -> None:
    document["campaigns"][0]["workloads"][0]["final"]["disturbed"] = "others had the cores"
    numbers, _ = verified()
    assert {(f.mark, f.why) for f in numbers.values()} == {
        (Mark.UNDECIDED, "disturbed then: others had the cores")
    }


def test_times_are_not_decided_where_nobody_noted_the_speed_of_the_machine(
    verified: Verify, document: Any
) -> None:
    document["campaigns"][0]["workloads"][0]["limits"] = {}
    numbers, found = verified(**dict.fromkeys(TIMES, 1.3))
    assert {(over != "", f.mark) for (_, over), f in numbers.items()} == {
        (False, Mark.UNDECIDED), (True, Mark.REPRODUCES)
    }  # fmt: skip
    assert not found.reproduces


def test_on_another_device_speed_ups_are_compared_and_times_are_not(verified: Verify, document: Any) -> None:
    document["campaigns"][0]["device"]["fingerprint"] = "cpu-of-somebody"
    numbers, found = verified(**dict.fromkeys(TIMES, 2.0), calibration=(9.0, True))
    assert set(numbers) == {("cpp_naive", "numpy"), ("cpp_tiled", "numpy")} and found.reproduces
    assert found.remarks[0].startswith("measured on this one, here is")


def test_what_cannot_be_run_here_is_said_with_the_reason(verified: Verify, document: Any) -> None:
    entries = document["campaigns"][0]["workloads"][0]["final"]["entries"]
    entries[0]["source"] = "0123456789abcdef"
    entries[1]["config"] = {**entries[1]["config"], "EVIL": 1}
    entries[2]["toolchain"]["digest"] = "older"
    numbers, found = verified()
    assert {k for k, f in numbers.items() if f.mark is Mark.NOT_HERE} == {
        (k, over) for k in ("cpp_naive", "cpp_tiled") for over in ("", "numpy")
    }
    assert "measured was 0123456789abcdef" in numbers["cpp_naive", ""].why
    assert "EVIL" in numbers["cpp_tiled", ""].why
    assert found.reproduces, "what could be run does"
    assert any(text.startswith("numpy: built by g++ then, by ") for text in found.remarks)
    assert Shop.built == ["numpy"]
    document["campaigns"][0]["protocol"]["threads"] = 4096
    numbers, found = verified()
    assert {f.mark for f in numbers.values()} == {Mark.NOT_HERE} and not found.reproduces
    assert "threads is at most" in numbers["numpy", ""].why


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("kernel", "../../tmp/evil.cpp", "unknown kernel"),
        ("kernel", "os:system", "unknown kernel"),
        ("source", "0" * 16, "measured was 0000000000000000"),
        ("config", {"TILE": '1"; system("id"); "'}, "TILE"),
    ],
)
def test_a_file_of_somebody_else_runs_nothing_of_its_own(
    verified: Verify, document: Any, field: str, value: Any, words: str
) -> None:
    first(document)[field] = value
    for at in ("path", "artifact", "command", "flags"):  # what it says of files and programs is not read
        first(document)[at] = "/tmp/evil.so"
    _, found = verified()
    (refused,) = [n for n in found.numbers if n.trial == 1 and not n.over]
    assert refused.finding.mark is Mark.NOT_HERE and words in refused.finding.why
    assert Shop.built == ["cpp_tiled", "numpy"], "nothing of that entry is built"


def test_a_protocol_that_this_machine_cannot_keep_is_a_number_that_cannot_be_run(
    verified: Verify, document: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> None:
        raise Unavailable("the clock cannot be held here")

    monkeypatch.setattr(Shop, "__enter__", refuses)
    _, found = verified()
    assert {n.finding.mark for n in found.numbers} == {Mark.NOT_HERE} and not found.reproduces
    assert found.numbers[0].finding.why == "the clock cannot be held here"


def test_exit_codes_and_words(verified: Verify, document: Any, tmp_path: Path) -> None:
    verified()  # writes the file, and scripts the machine
    file = str(tmp_path / "result.json")
    done = CliRunner().invoke(app, ["verify", file])
    assert done.exit_code == 1 and "StopIteration" not in done.output
    document["version"] = 2
    (tmp_path / "later.json").write_text(json.dumps(document))
    for name, words in (("later.json", "is of version 2"), ("none.json", "does not exist")):
        with pytest.raises(InterchangeError, match=words):
            CliRunner().invoke(app, ["verify", str(tmp_path / name)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format="x"), "no result of tuner compare"),
        (lambda d: d.update(campaigns=[]), "no number to verify"),
        (lambda d: d["campaigns"][0]["protocol"].update(threads="all"), "threads is a number from 1"),
        (lambda d: d["campaigns"][0]["protocol"].update(cache="hot"), "cache is model, warm or cold"),
        (lambda d: d["campaigns"][0]["asked"].update(rounds=10**9), "rounds is a number from 0 to 1000"),
        (lambda d: first(d).update(samples_s=[]), "holds 0 numbers"),
        (lambda d: first(d).update(samples_s=[1.0, -1.0]), "is not a time"),
        (lambda d: first(d).update(processes=[1]), "processes are the counts of 18"),
        (lambda d: first(d).update(trial=2), "distinct trials"),
        (lambda d: first(d).update(config={"A/../b": 1}), "is not a name"),
        (lambda d: d["campaigns"][0]["workloads"][0]["limits"].update(calibration_s=0), "is not a time"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(
    document: Any, tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    change(document)
    (tmp_path / "result.json").write_text(json.dumps(document))
    with pytest.raises(InterchangeError, match=words) as caught:
        read_result(tmp_path / "result.json")
    assert "\n" not in str(caught.value)


def first(document: Any) -> dict[str, Any]:
    found: dict[str, Any] = document["campaigns"][0]["workloads"][0]["final"]["entries"][0]
    return found


def test_what_others_take_is_read_from_the_system(tmp_path: Path) -> None:
    import os

    proc = tmp_path / "proc"
    (proc / str(os.getpid())).mkdir(parents=True)

    def at(busy: int, own: int) -> Readings:
        lines = (
            f"cpu  9 9 9 9\ncpu0 {busy} 0 0 500 0 0 0 0\ncpu1 0 0 {busy} 500 7 0 0 0\ncpu2 99 0 0 0 0 0 0 0\n"
        )
        (proc / "stat").write_text(lines)
        (proc / str(os.getpid()) / "stat").write_text(
            f"1 (a) b) S {' '.join('0' * 10)} {own} {own} 0 0 0 0\n"
        )
        return others.readings([0, 1], tmp_path)

    before, after = at(100, 0), at(300, 50)
    ticks = os.sysconf("SC_CLK_TCK")
    assert (after.busy_s - before.busy_s, after.own_s) == (400 / ticks, 100 / ticks)
    assert not others.too_much(Readings(0, 0, 0), Readings(10, 11, 10), 2, 2)
    assert "took 0.5 of 2 cores" in others.too_much(Readings(0, 0, 0), Readings(10, 15, 10), 2, 1)
    assert not others.too_much(Readings(0, 0, 0), Readings(10, 15, 10), 64, 1), (
        "hardly felt on a large machine"
    )
