"""What a sweep measures first where nothing is known: the best predicted of a random draw."""

import random
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tuner import registry
from tuner.core.errors import MachineFault
from tuner.core.measurement import Evidence, Status
from tuner.core.searcher import Problem
from tuner.core.space import Config
from tuner.core.target import Prediction, Target, TargetModel
from tuner.engine.building.build_stage import BuildRequest, Built
from tuner.engine.processes.machine_faults import Fault
from tuner.engine.tuning import known_starts
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.foreseen import foreseen_starts, starts_of
from tuner.engine.tuning.plan import Plan
from tuner.engine.tuning.request import SweepRequest
from tuner.engine.tuning.starting import MOST
from tuner.targets.cuda import target

KERNEL, GEMM = registry.kernel("cuda_warp_tiles"), registry.operator("gemm")
WORKLOAD = GEMM.parse("512x512x512")


class _Model(TargetModel):
    """Seconds and problems are what the artifact says."""

    def problem(self, artifact: Any, target: Target) -> str | None:
        return artifact.problem or None

    def predict(self, operator: Any, workload: Any, artifact: Any, features: Any, target: Target) -> Any:
        return Prediction(artifact.seconds, "math", {}) if artifact.seconds else None


class Shop:
    """Builds nothing; a deeper tile is faster, the deepest does not fit, MIN_BLOCKS changes no binary."""

    def __init__(self, evidence: Evidence = Evidence.MEASURED, fault: Fault | None = None) -> None:
        self.target = replace(target("sm_80"), model=_Model())
        self.device = SimpleNamespace(evidence=evidence, fingerprint="cuda-0")
        self.fault, self.asked = fault, 0
        self.kept: list[Config] = []

    def keep(self, request: BuildRequest, built: Built) -> None:
        self.kept.append(request.config)

    def build_all(self, requests: Sequence[BuildRequest]) -> list[Built]:
        self.asked += len(requests)
        return [self._built(dict(request.config)) for request in requests]

    def _built(self, config: dict[str, Any]) -> Built:
        if self.fault:
            return Built(Status.ENVIRONMENT, "no memory", fault=self.fault)
        if config["BM"] == 128:
            return Built(Status.BUILD_ERROR, "does not compile")
        binary = str(sorted((name, value) for name, value in config.items() if name != "MIN_BLOCKS"))
        seconds = 1 / config["BK"]
        problem = "too deep" if config["BK"] == 32 else ""
        artifact: Any = SimpleNamespace(digest=binary, seconds=seconds, problem=problem)
        return Built(Status.OK, artifact=artifact)


def build_of(config: Config) -> BuildRequest:
    return BuildRequest(KERNEL, WORKLOAD, config)


def request(**changed: Any) -> SweepRequest:
    return SweepRequest(KERNEL, WORKLOAD, **{"searcher": "genetic", "budget": Budget(trials=30), **changed})


def foreseen(asked: SweepRequest, shop: Shop) -> Any:
    return foreseen_starts(asked, shop, KERNEL.space(WORKLOAD, shop.target), build_of)


def test_the_best_predicted_third_of_the_draw_is_measured_first() -> None:
    shop = Shop()
    found = foreseen(request(), shop)
    assert shop.asked == 30 and 3 <= found.ranked < 30
    assert 1 <= len(found.configs) <= found.ranked // 3
    depths = [config["BK"] for config in found.configs]
    assert depths == sorted(depths, reverse=True) and 32 not in depths
    assert all(config["BM"] != 128 for config in found.configs)
    assert "evidence: predicted, not measured" in found.why
    assert tuple(shop.kept) == found.configs  # and the sweep builds none of them again
    # The same again, as a resumed sweep asks for it; others with another seed.
    assert foreseen(request(), Shop()) == found
    assert foreseen(request(seed=1), Shop()).configs != found.configs


@pytest.mark.parametrize(("trials", "built"), [(1, 3), (4, 3), (100, 3 * MOST), (None, 3 * MOST)])
def test_the_draw_is_bounded_by_the_budget(trials: int | None, built: int) -> None:
    shop = Shop()
    foreseen(request(budget=Budget(trials=trials)), shop)
    assert shop.asked == built


def test_a_machine_that_fails_every_build_is_said() -> None:
    with pytest.raises(MachineFault, match="no memory"):
        foreseen(request(), Shop(fault=Fault("no memory", False)))
    assert foreseen(request(), Shop(fault=Fault("no memory", True))).configs == ()


def _store(sweeps: dict[int, dict[str, int]]) -> Any:
    """With one group of trials of the kernel, by sweep and evidence."""
    group = SimpleNamespace(
        workload=WORKLOAD, device=SimpleNamespace(fingerprint="cuda-0", name="a GPU"), sweeps=sweeps,
        kernel=SimpleNamespace(digest=KERNEL.digest), target="cuda:sm_80",
    )  # fmt: skip
    return SimpleNamespace(history_groups=lambda *_: [group], fastest_predicted=lambda *_: (0, ()))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"foresee": False}, "not asked for"),
        ({"searcher": "random"}, "a uniform draw is its method"),
        ({"searcher": "grid"}, "its order is its method"),
        ({"options": {"configs": []}}, "what to measure is named"),
        ({"proposed": 10}, "a resumed sweep has measured them"),
        ({"sweeps": {7: {"measured": 3}}}, ""),  # its own
        ({"sweeps": {6: {"measured": 3}}}, "there is a history"),
        ({"sweeps": {6: {"predicted": 3}}}, ""),
        ({"evidence": Evidence.COMPILED}, "nothing is measured"),
        ({"model": None}, "the target has no model"),
    ],
)
def test_who_foresees(changed: dict[str, Any], why: str) -> None:
    own = {n: changed[n] for n in ("foresee", "searcher", "options") if n in changed}
    asked = request(**own)
    shop = Shop(changed.get("evidence", Evidence.MEASURED))
    if "model" in changed:
        shop.target = replace(shop.target, model=None)
    space, store = KERNEL.space(WORKLOAD, shop.target), _store(changed.get("sweeps", {}))
    searcher = registry.searcher(asked.searcher)(
        Problem(space, budget=asked.budget.trials, options=asked.options)
    )
    found = starts_of(asked, shop, space, store, searcher, 7, changed.get("proposed", 0), build_of)  # type: ignore[arg-type]
    assert bool(found.configs) == (why == ""), why


@pytest.mark.parametrize(
    ("changed", "begins"),
    [
        ({}, True),
        ({"foresee": False}, False),
        ({"searcher": "random"}, False),
        ({"searcher": "genetic"}, True),
    ],
)
def test_what_was_good_elsewhere_comes_before_what_is_predicted(
    changed: dict[str, Any], begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, shop = request(**changed), Shop()
    space = KERNEL.space(WORKLOAD, shop.target)
    good = [space.sample(random.Random(3)), space.sample(random.Random(4))]
    monkeypatch.setattr(known_starts, "shipped", lambda: {KERNEL.name: {"f32": [*good, good[0]]}})
    searcher = registry.searcher(asked.searcher)(Problem(space, budget=asked.budget.trials))
    found = starts_of(asked, shop, space, _store({}), searcher, 7, 0, build_of)  # type: ignore[arg-type]
    assert found.configs == (tuple(good) if begins else ())
    assert shop.asked == 0


def test_what_was_asked_is_recorded() -> None:
    assert "foresee" not in Plan().as_dict() and Plan(foresee=False).as_dict()["foresee"] is False
