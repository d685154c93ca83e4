"""One rule for all shapes: the fewest configurations, the tree, what both cost on shapes left out."""

import itertools
import json
import math
import random
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuner
from tests.export.makers import DEVICE, REPLAYED, shape, stored
from tests.export.real import stored_here
from tuner import registry
from tuner.cli import app
from tuner.cli.dispatch import _lines, fraction
from tuner.core.errors import TunerError, Unavailable
from tuner.core.protocol import Protocol
from tuner.core.workload import Workload
from tuner.export import serve
from tuner.export.cover import smallest_cover
from tuner.export.local import read_local
from tuner.export.matrix import read_matrix
from tuner.export.rule import leave_one_out, make_rule, summary
from tuner.export.shapes import read_shapes
from tuner.store.store import open_store

SMALL = [{"tile": t} for t in (1, 2, 3, 4)]
SHAPES = [shape(m, n, 64) for m in (16, 32, 64, 512, 1024) for n in (64, 128)]


def by_rows(workload: Workload, config) -> float:
    """Tile 1 suits few rows, tile 4 many; 2 and 3 are 30% off everywhere."""
    wanted = 1 if workload["m"] <= 64 else 4
    return workload["m"] * 1e-6 * (1 + 0.3 * abs(math.copysign(1, config["tile"] - wanted)
                                                 if config["tile"] != wanted else 0))  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    app(list(arguments), standalone_mode=False)
    return capsys.readouterr().out


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_cover_is_as_small_as_any(rows: int, columns: int, rng: random.Random) -> None:
    ratios = np.array([[rng.choice([1.0, 1.04, 1.2, 3.0, math.nan, math.inf]) for _ in range(columns)]
                       for _ in range(rows)])  # fmt: skip
    good = np.nan_to_num(ratios, nan=9) <= 1.05
    if not good.any(axis=0).all():
        with pytest.raises(TunerError, match="no configuration"):
            smallest_cover(ratios, 0.05, [1.0] * columns)
        return
    chosen = smallest_cover(ratios, 0.05, [1.0] * columns)
    assert good[chosen].any(axis=0).all()
    for size in range(1, len(chosen)):
        assert not any(good[list(c)].any(axis=0).all() for c in itertools.combinations(range(rows), size))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7), st.integers(2, 6), st.integers(1, 2), st.randoms(use_true_random=False))
def test_of_too_few_configurations_those_that_serve_the_most_weight(
    rows: int, columns: int, most: int, rng: random.Random
) -> None:
    ratios = np.array([[rng.choice([1.0, 1.3]) for _ in range(columns)] for _ in range(rows)])
    ratios[rng.randrange(rows)] = 1.0  # so that there is a cover
    weights = [rng.choice([1.0, 2.0, 7.0]) for _ in range(columns)]
    chosen = smallest_cover(ratios, 0.05, weights, most)

    def weight(rows_):
        return float((ratios[list(rows_)] <= 1.05).any(axis=0) @ np.array(weights))

    assert len(chosen) <= most
    assert weight(chosen) == max(weight(c) for c in itertools.combinations(range(rows), min(most, rows)))


def test_two_configurations_and_one_question_serve_all_shapes(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, SHAPES, SMALL, by_rows)
        matrix = read_matrix(store, "made")
    rule = make_rule(matrix, 0.05)
    assert sorted(c.config["tile"] for c in rule.choices) == [1, 4] and rule.served == 1
    for m, tile in ((16, 1), (48, 1), (60, 1), (700, 4), (1000, 4)):
        picked = rule.pick(shape(m, 96, 64))
        assert picked.sure and picked.choice.config["tile"] == tile
    held = leave_one_out(matrix, 0.05)
    assert all(h.ratio == pytest.approx(1) for h in held)
    assert summary(held, 0.05)["within"] == 1 and summary(held, 0.05)["default_within"] < 1


def test_far_from_every_tuned_shape_the_default_is_used_and_said_to_be(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, SHAPES, SMALL, by_rows)
        rule = make_rule(read_matrix(store, "made"))
    picked = rule.pick(shape(1_000_000, 96, 64))
    assert not picked.sure and "m=1e+06 is far" in picked.why
    assert picked.choice == rule.choices[rule.default]


def test_where_like_shapes_disagree_the_rule_says_that_it_is_unsure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.export.rule.FEWEST", 99)  # the tree of what was measured, without a model

    def at_random(workload: Workload, config) -> float:
        wanted = random.Random(workload.key).randrange(4) + 1
        return 1e-3 * (1 if config["tile"] == wanted else 1.5)

    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, [shape(m, 64, 64) for m in range(64, 84)], SMALL, at_random)
        held = leave_one_out(read_matrix(store, "made"), 0.05)
    assert any(not h.sure and "need something else" in h.picked.why for h in held)
    assert summary(held, 0.05)["within"] < 0.9  # no rule can: that must show


def test_where_tree_and_table_name_unlike_configurations_both_are_said(tmp_path: Path) -> None:
    odd_one_out = shape(32, 64, 64)

    def one_apart(workload: Workload, config) -> float:
        wanted = 4 if workload == odd_one_out else 1
        return 1e-3 * (1 if config["tile"] == wanted else 1.5)

    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, SHAPES, SMALL, one_apart)
        matrix = read_matrix(store, "made")
    rule = make_rule(matrix, 0.05)
    assert rule.pick(odd_one_out).choice != rule.predict(odd_one_out).choice
    told = {w.key: next(line for line in _lines(matrix, rule, []) if w.key in line) for w in SHAPES}
    for key, line in told.items():
        assert ("the same" in line) == (key != odd_one_out.key)
    assert "50.0%" in told[odd_one_out.key]


def test_how_often_a_shape_occurs_decides_what_few_configurations_serve(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, SHAPES, SMALL, by_rows)
        for small, expected in ((100.0, 1), (0.01, 4)):
            weights = {s: small if s["m"] <= 64 else 1.0 for s in SHAPES}
            rule = make_rule(read_matrix(store, "made", shapes=weights), 0.05, at_most=1)
            assert [c.config["tile"] for c in rule.choices] == [expected]
            assert rule.served == pytest.approx(
                sum(w for s, w in weights.items() if (s["m"] <= 64) == (expected == 1))
                / sum(weights.values())
            )


def test_what_was_not_measured_serves_nothing_and_what_fails_neither(tmp_path: Path) -> None:
    def gappy(workload: Workload, config) -> float | None:
        if workload == SHAPES[0]:
            return {1: 1e-3, 4: 1.01e-3}.get(config["tile"], 0)
        return {1: 1e-3, 4: None}.get(config["tile"], 2e-3)

    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, SHAPES[:3], SMALL, gappy)
        matrix = read_matrix(store, "made")
    assert len(matrix.missing) == 2 and {c for _, c in matrix.missing} == {0}
    assert [c.config["tile"] for c in make_rule(matrix).choices] == [1]


def test_replayed_times_make_a_rule_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = str(tmp_path / "made.db")
    with open_store(db) as store:
        stored(store, SHAPES, SMALL, by_rows, REPLAYED)
    out = run(capsys, "dispatch", "made", "--db", db)
    assert "replayed times: recorded elsewhere, not measured here" in out and "if m <=" in out
    rule = json.loads(run(capsys, "dispatch", "made", "--db", db, "--json"))
    assert rule["evidence"] == "replayed" and len(rule["choices"]) == 2 and len(rule["held_out"]) == 10
    with pytest.raises(TunerError, match="times on this machine"):
        run(capsys, "dispatch", "made", "--measure", "--db", db)


def test_a_recording_may_have_the_name_of_a_kernel_of_ours(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, SHAPES[:3], SMALL, by_rows, REPLAYED, name="tir_tiled")
        assert len(read_matrix(store, "made").choices) == len(SMALL)


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        ("nope", "nope is neither an operator"),
        ("gemm", "no times of gemm are stored: run 'tuner sweep gemm'"),
    ],
)
def test_nothing_stored_is_said_with_the_reason(operator: str, said: str, tmp_path: Path) -> None:
    with open_store(str(tmp_path / "empty.db")) as store, pytest.raises(TunerError, match=said):
        read_matrix(store, operator)


def test_times_of_earlier_sources_are_called_stale(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "old.db")) as store:
        stored(store, SHAPES[:3], SMALL, by_rows, name="cpp_packed")
        with pytest.raises(TunerError, match="all 12 times of made are of kernels whose source has changed"):
            read_matrix(store, "made")


def test_times_of_two_devices_are_not_mixed(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, SHAPES[:3], SMALL, by_rows)
        stored(store, SHAPES[:3], SMALL, by_rows, REPLAYED)
        with pytest.raises(TunerError, match="choose with --device"):
            read_matrix(store, "made")
        assert read_matrix(store, "made", device="recorded").group.device.name == REPLAYED.name
        assert read_matrix(store, "made", device=DEVICE.fingerprint).group.evidence == "measured"


def test_a_file_of_shapes_has_counts(tmp_path: Path) -> None:
    file = tmp_path / "shapes.txt"
    file.write_text("# layers\n64x32x16 * 12\nm8 n8 k8 relu  # once\n64x32x16*2.5\n")
    found = read_shapes(file, registry.operator("gemm"), "f32")
    assert {w.key: n for w, n in found.items()} == {
        "gemm/f32/m64-n32-k16": 14.5, "gemm/f32/m8-n8-k8/relu": 1.0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("64x32x16\n64xx2\n", "line 2"), ("", "has no shape"), ("64x32x16 * 0\n", "more than 0"),
        ("64x32x16 * many\n", "line 1: 'many' is no count"),
        ("64x32x16 * -1\n", "'-1' is no count"), ("64x32x16 *\n", "'' is no count"),
        ("64x32x16 * " + "9" * 400, "is no count"),
    ],
)  # fmt: skip
def test_a_bad_file_of_shapes_is_refused_by_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "shapes.txt"
    file.write_text(text)
    with pytest.raises(TunerError, match=said):
        read_shapes(file, registry.operator("gemm"), "f32")


@pytest.mark.parametrize("within", ["five", "-1%", "200%", "nan"])
def test_a_bad_share_is_refused(within: str) -> None:
    with pytest.raises(TunerError, match="give a share like 5%"):
        fraction(within)


@pytest.mark.slow
def test_gaps_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = str(tmp_path / "results.db")
    for m in (24, 40):
        tuner.tune("gemm", m=m, n=32, k=48, kernels=["cpp_register"], trials=2, baselines=False, rounds=0,
                   threads=1, searcher="random", seed=m, db=db)  # fmt: skip
    asked = ["dispatch", "gemm", "--db", db, "--json"]
    before = json.loads(run(capsys, *asked))
    after = json.loads(run(capsys, *asked, "--measure"))
    assert before["not_measured"] > 0 and after["not_measured"] == 0
    assert set(after["table"]) == {"gemm/f32/m24-n32-k48", "gemm/f32/m40-n32-k48"}
    with open_store(db, read_only=True) as store:
        assert [s.spec.searcher for s in store.sweeps()] == ["random", "random", "given", "given"]


def test_to_measure_in_a_database_that_is_not_there_makes_none(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    with pytest.raises(TunerError, match="no database at"):
        app(["dispatch", "gemm", "--measure", "--db", str(missing)], standalone_mode=False)
    assert not missing.exists()


def test_a_shape_tried_at_first_use_teaches_the_tree_and_chooses_no_configurations(tmp_path: Path) -> None:
    few = [shape(m, 64, 64) for m in (440, 456, 472, 488)]

    def tile_1_there(workload: Workload, config) -> float:
        return (
            by_rows(workload, config) if workload not in few else 1e-4 * (1 if config["tile"] == 1 else 1.3)
        )

    with open_store(str(tmp_path / "made.db")) as store:
        stored(store, SHAPES, SMALL, by_rows)
        before = make_rule(read_matrix(store, "made"))
        stored(store, few, [SMALL[0], SMALL[3]], tile_1_there, searcher="given")
        # A rule of other configurations was tried there: of those of the present one nothing is known.
        stored(store, [shape(48, 64, 64)], [SMALL[1]], by_rows, searcher="given")
        matrix = read_matrix(store, "made")
        rule, held = make_rule(matrix), leave_one_out(matrix)
        alone = read_matrix(store, "made", shapes=dict.fromkeys(few, 1.0))
    assert len(matrix.tried) == 5 and len(matrix.searched) == len(held) == len(SHAPES)
    assert rule.choices == before.choices and not matrix.missing
    new = shape(464, 64, 64)
    assert [r.predict(new).choice.config["tile"] for r in (before, rule)] == [4, 1]
    assert rule.pick(few[0]).choice.config["tile"] == 1 and shape(48, 64, 64) not in rule.table
    assert len(alone.searched) == len(few)  # nobody searched any of these: they are all there is


@pytest.mark.slow
def test_at_first_use_the_configurations_of_the_rule_are_timed_and_kept(tmp_path: Path) -> None:
    db = str(tmp_path / "results.db")
    with open_store(db) as store:
        stored_here(store, [(f"gemm/f32/m{m}-n32-k48", "cpp_register", {"MR": mr}, 1e-6)
                            for m, mr in ((24, 2), (40, 4))], threads=1)  # fmt: skip
    asked = {"n": 32, "k": 48, "db": db, "threads": 1, "any_shape": True, "measure": True}
    with warnings.catch_warnings(action="error"):
        gemm = tuner.load("gemm", m=31, **asked)
        again = tuner.load("gemm", m=31, **asked)
    assert gemm.exact and gemm.time_s and dict(gemm.config) == dict(again.config)
    with open_store(db, read_only=True) as store:
        sweeps = store.sweeps("gemm")
        assert [s.spec.searcher for s in sweeps] == ["random", "random", "given"]  # timed once
        assert sum(sweeps[-1].statuses.values()) == 2
        table = read_matrix(store, "gemm")
        asked_for = [w["m"] for w in table.shapes].index(31)
        assert asked_for in table.tried and not any(column == asked_for for _, column in table.missing)


def test_measuring_at_first_use_asks_for_a_rule_and_a_database(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    with pytest.raises(TunerError, match="give any_shape=True too"):
        tuner.load("gemm", m=8, n=8, k=8, db=str(missing), measure=True)
    with pytest.raises(TunerError, match="no database at"):
        tuner.load("gemm", m=8, n=8, k=8, db=str(missing), any_shape=True, measure=True)
    assert not missing.exists()


def test_a_program_reads_the_table_once_for_all_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, asked = str(tmp_path / "results.db"), []
    monkeypatch.setattr(serve, "read_local", lambda *a, **b: asked.append(a) or read_local(*a, **b))
    made = [(f"gemm/f32/m{m}-n32-k48", "cpp_register", {}, m * 1e-6) for m in (24, 40, 56)]
    with open_store(db) as store:
        stored_here(store, made[:2], threads=1)
    load = partial(tuner.load, "gemm", n=32, k=48, db=db, threads=1, any_shape=True)
    with warnings.catch_warnings(action="error"):
        notes = [load(m=m).note for m in (31, 33)]
        assert len(asked) == 1 and all("by the rule of 2 tuned shapes" in note for note in notes)
        with open_store(db) as store:
            stored_here(store, made[2:], threads=1)
        assert "by the rule of 3 tuned shapes" in load(m=33).note and len(asked) == 2


def test_any_shape_is_loaded_by_the_rule(tmp_path: Path) -> None:
    db = str(tmp_path / "results.db")
    with open_store(db) as store:
        made = [(f"gemm/f32/m{m}-n32-k48", "cpp_register", {}, m * 1e-6) for m in (24, 40)]
        stored_here(store, made, threads=1)
    rng = np.random.default_rng(0)
    a, b = rng.random((31, 48), np.float32), rng.random((48, 32), np.float32)
    with warnings.catch_warnings(action="error"):  # what was asked for is no surprise
        gemm = tuner.load("gemm", m=31, n=32, k=48, db=db, threads=1, any_shape=True)
        far = tuner.load("gemm", m=3100, n=32, k=48, db=db, threads=1, any_shape=True)
        assert tuner.load("gemm", m=24, n=32, k=48, db=db, threads=1, any_shape=True).exact
    assert not gemm.exact and "by the rule of 2 tuned shapes" in gemm.note
    np.testing.assert_allclose(gemm(a, b), a @ b, rtol=1e-5)
    assert "its default: m=3100 is far" in far.note
    alone = str(tmp_path / "one.db")
    with open_store(alone) as store:
        stored_here(store, made[:1], threads=1)
    with warnings.catch_warnings(action="error"):
        near = tuner.load("gemm", m=31, n=32, k=48, db=alone, threads=1, any_shape=True)
    assert "nearest stored configuration" in near.note and "too few shapes are tuned for a rule" in near.note
    with pytest.raises(Unavailable, match="nothing stored"):
        tuner.load("gemm", dtype="int8", m=31, n=32, k=48, db=db, threads=1, any_shape=True)


def test_of_several_states_of_the_caches_the_one_with_most_shapes_makes_the_rule(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "r.db")) as store:
        stored(store, SHAPES[:4], SMALL, by_rows)
        stored(store, SHAPES[:6], SMALL, by_rows, protocol=Protocol(cache="model"))
        stored(store, SHAPES[:4], SMALL, by_rows, protocol=Protocol(cache="cold"))
        found = read_matrix(store, "made")
        assert (found.group.cache, len(found.shapes)) == ("model", 6)
        stored(store, SHAPES, SMALL, by_rows)
        assert read_matrix(store, "made").group.cache == "warm"
