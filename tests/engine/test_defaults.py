"""A kernel's default: one notion of it, and what happens where the one that a user names does not fit."""

from dataclasses import replace

import pytest

from tests.engine.calm import CalmCpu
from tuner import registry
from tuner.core.default_config import default_config
from tuner.core.errors import InvalidConfig, InvalidSpace, TunerError, UnknownName
from tuner.core.protocol import Protocol
from tuner.core.space import Constraint, Parameter, SearchSpace
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.defaults import check_defaults, fitting_defaults
from tuner.engine.tuning.observer import Observer
from tuner.engine.tuning.plan import Plan
from tuner.engine.tuning.series import SeriesLayer, run_series
from tuner.engine.tuning.setting import Setting
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
SMALL, LARGE = GEMM.parse("8x8x8"), GEMM.parse("64x64x64")
TILED = registry.kernel("cpp_tiled")
WIDE = {"threads": 1, "TILE_M": 64, "TILE_N": 32, "TILE_K": 4}  # beyond the rows of the small one
NEVER = {**WIDE, "TILE_M": 5}


def test_it_is_the_first_valid_configuration_in_the_order_of_the_lists():
    space = SearchSpace(
        [Parameter("A", (4, 2, 8)), Parameter("B", (1, 2))], [Constraint("odd", "A * B != 4", "")]
    )
    assert default_config(space) == {"A": 4, "B": 2}
    assert default_config(space, {"B": 1, "A": 8}) == {"A": 8, "B": 1}
    with pytest.raises(InvalidConfig, match="odd"):
        default_config(space, {"A": 2, "B": 2})
    with pytest.raises(InvalidSpace):
        default_config(SearchSpace([Parameter("A", (1,))], [Constraint("no", "A > 1", "")]))


def test_one_that_fits_a_shape_is_taken_and_one_that_fits_none_is_refused():
    target = CalmCpu().target_for(1)
    both = {SMALL: [TILED], LARGE: [TILED]}
    check_defaults({"cpp_tiled": WIDE}, both, target)
    with pytest.raises(TunerError, match="the default of cpp_tiled at gemm/f32/m8-n8-k8"):
        check_defaults({"cpp_tiled": WIDE}, {SMALL: [TILED]}, target)
    with pytest.raises(TunerError, match="the default of cpp_tiled"):
        check_defaults({"cpp_tiled": NEVER}, both, target)
    with pytest.raises(TunerError, match="no default for cpp_naive: the kernels tuned here are cpp_tiled"):
        check_defaults({"cpp_naive": {}}, both, target)
    with pytest.raises(UnknownName):
        check_defaults({"cpp_tild": {}}, both, target)
    assert fitting_defaults({"cpp_tiled": WIDE}, [TILED], LARGE, target) == ({"cpp_tiled": WIDE}, [])
    fitting, (remark,) = fitting_defaults({"cpp_tiled": WIDE}, [TILED], SMALL, target)
    assert not fitting and remark.startswith("cpp_tiled: the default that was named")


@pytest.mark.slow
def test_a_series_goes_on_past_a_shape_that_the_default_does_not_fit(tmp_path):
    protocol = Protocol(threads=1, budget_s=0.02, run_timeout_s=5.0)
    plan = Plan(
        "grid", budget=Budget(trials=2), rounds=9, finalists=1, calibrated=False,
        defaults={"cpp_tiled": WIDE},
    )  # fmt: skip
    layers = [SeriesLayer(SMALL), SeriesLayer(LARGE)]
    with open_store(str(tmp_path / "results.db")) as store:
        setting = Setting(CalmCpu(), protocol, plan, store, Observer())
        outcomes = run_series(layers, setting, ["cpp_tiled"], baselines=False, title="two shapes")
        small, large = (outcomes[w] for w in (SMALL, LARGE))
        assert any("the default that was named" in remark for remark in small.ranking.remarks)
        assert not any("the default that was named" in remark for remark in large.ranking.remarks)
        config = store.trial(large.defaults["cpp_tiled"]).trial.key.config
        assert dict(config) == WIDE
        first = store.trial(small.defaults["cpp_tiled"]).trial.key.config
        assert dict(first) == default_config(TILED.space(SMALL, CalmCpu().target_for(1)))
        refused = replace(setting, plan=replace(plan, defaults={"cpp_tiled": NEVER}))
        with pytest.raises(TunerError, match="the default of cpp_tiled"):
            run_series(layers, refused, ["cpp_tiled"], baselines=False, title="refused")
        assert [c.spec.title for c in store.campaigns()] == ["two shapes"]
