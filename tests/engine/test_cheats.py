"""A kernel that does not do the work, or lies about how long it took, is a wrong one: it never has a time."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.cheats import CHEATS, LIARS, planted
from tuner import registry
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging.clocks import believable, cores_problem
from tuner.engine.tuning.campaign import default_device
from tuner.engine.tuning.finals import Finalist, run_final

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("96x96x96")
CONFIG = {"UNUSED": 0}


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    protocol = Protocol(threads=1, budget_s=0.05, run_timeout_s=5.0)
    with Workshop(default_device("cpu"), protocol, seed=7) as made:
        made.prepare(GEMM, WORKLOAD)
        yield made


def cheat(folder: Path, name: str):
    includes, body, _ = (CHEATS | LIARS)[name]
    return planted(folder, name, body, includes=includes)


def idle_cores(seconds: float = 0.3) -> float:
    """How many cores nobody uses now; the load average would tell of the last minute."""

    def idle() -> int:
        return int(Path("/proc/stat").read_text().split()[4])

    before, began = idle(), time.monotonic()
    time.sleep(seconds)
    return (idle() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)


def skip_where_it_cannot_cheat(name: str) -> None:
    if name == "patches_the_stopwatch" and os.uname().machine != "x86_64":
        pytest.skip("the patch is x86-64 machine code")
    if name == "takes_more_cores_than_it_was_given" and idle_cores() < 1.7:
        pytest.skip("no core is idle that it could take: it has no gain, and nobody sees it")


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_refused(name: str, workshop: Workshop, tmp_path: Path) -> None:
    skip_where_it_cannot_cheat(name)
    built = workshop.build(cheat(tmp_path, name), WORKLOAD, CONFIG, GEMM.companions(WORKLOAD))
    assert built.artifact is not None, built.error
    # Some would be found out on special values already; here it is their time that is held against them.
    outcome = workshop.measure(WORKLOAD, replace(built, special=False), None, None)
    assert outcome.samples == () and outcome.status in (Status.WRONG_RESULT, Status.RUN_TIMEOUT, Status.CRASH)
    assert CHEATS[name][2] in outcome.error
    built.discard()


@pytest.mark.parametrize(
    "name", [next(iter(LIARS)), *(pytest.param(n, marks=pytest.mark.slow) for n in [*LIARS][1:])]
)
def test_who_lies_at_times_is_refused_or_has_its_true_time(
    name: str, workshop: Workshop, tmp_path: Path
) -> None:
    kernels = [planted(tmp_path, "honest"), cheat(tmp_path, name)]
    honest, liar = (
        workshop.measure(WORKLOAD, workshop.build(kernel, WORKLOAD, CONFIG), None, None) for kernel in kernels
    )
    assert honest.status is Status.OK, honest.error
    # It does the same, and its clock shows a twentieth.
    assert all(seconds > min(honest.samples) / 4 for seconds in liar.samples), (liar.samples, honest.samples)
    if not liar.ok:
        assert liar.status in (Status.WRONG_RESULT, Status.ENVIRONMENT) and liar.samples == ()


def test_a_cheat_prunes_nobody_and_wins_no_final(workshop: Workshop, tmp_path: Path) -> None:
    names = ["packs_b_once_and_keys_it_by_pointer", "says_less_than_it_takes"]
    kernels = [cheat(tmp_path, name) for name in names] + [planted(tmp_path, "honest")]
    built = [workshop.build(kernel, WORKLOAD, CONFIG) for kernel in kernels]
    finalists = [Finalist(k.name, i, b) for i, (k, b) in enumerate(zip(kernels, built, strict=True))]
    ranking = run_final(workshop, WORKLOAD, finalists, rounds=9)
    assert ranking.winner == 2 and ranking.tied == ()
    assert all(entry.error and not entry.turns.samples for entry in ranking.entries[:2])


@pytest.mark.slow
def test_who_lies_at_times_is_thrown_out_of_a_final_or_is_as_slow_as_it_is(
    workshop: Workshop, tmp_path: Path
) -> None:
    kernels = [planted(tmp_path, "honest"), *(cheat(tmp_path, name) for name in LIARS)]
    built = [workshop.build(kernel, WORKLOAD, CONFIG) for kernel in kernels]
    finalists = [Finalist(k.name, i, b) for i, (k, b) in enumerate(zip(kernels, built, strict=True))]
    honest, *liars = run_final(workshop, WORKLOAD, finalists, rounds=9).entries
    assert not honest.error
    # Its turns are medians, and its clock shows a twentieth.
    assert all(s > min(honest.turns.samples) / 4 for liar in liars for s in liar.turns.samples)


def test_an_honest_kernel_has_its_time(workshop: Workshop, tmp_path: Path) -> None:
    built = workshop.build(planted(tmp_path, "honest"), WORKLOAD, CONFIG, GEMM.companions(WORKLOAD))
    outcome = workshop.measure(WORKLOAD, built, None, None)
    assert outcome.status is Status.OK, outcome.error
    assert "inputs_not_seen_to_matter" not in outcome.metrics


@pytest.mark.parametrize("far", [0, 4096, 2**19, 2**26 - 2**13])
@pytest.mark.parametrize("side", ["before", "behind"])
@pytest.mark.parametrize("tensor", ["A", "D"])
@pytest.mark.sampled(6)
def test_a_stray_write_is_found_however_far(
    tensor: str, side: str, far: int, workshop: Workshop, tmp_path: Path
) -> None:
    sizes = {"A": "m * k", "B": "k * n", "D": "m * n"}
    place = f"{sizes[tensor]} + {far // 4}" if side == "behind" else f"-1 - {far // 4}"
    body = f"right(A, B, D, m, n, k); const_cast<volatile float*>({tensor})[{place}] = 1;"
    built = workshop.build(planted(tmp_path, "stray", body), WORKLOAD, CONFIG)
    outcome = workshop.measure(WORKLOAD, built, None, None)
    assert outcome.status in (Status.WRONG_RESULT, Status.CRASH) and outcome.samples == ()
    assert "stray write" in outcome.error or "SIGSEGV" in outcome.error
    built.discard()


@pytest.mark.parametrize(
    ("told_s", "elapsed_s", "right"),
    [
        (0.012, 0.0126, True),
        (0.2, 0.215, True),
        (0.012, 0.018, False),
        (0.2, 0.25, False),
        (1e-9, 0.012, False),
    ],
)
def test_a_claim_is_held_against_the_lab_s_clock(told_s: float, elapsed_s: float, right: bool) -> None:
    assert believable(told_s, elapsed_s) is right


def test_cpu_time_tells_how_many_cores_were_taken() -> None:
    assert "0.39 s of CPU time" in cores_problem(0.201, 0.39, threads=1)
    assert not cores_problem(0.201, 0.39, threads=2) and not cores_problem(0.012, 0.014, threads=1)
