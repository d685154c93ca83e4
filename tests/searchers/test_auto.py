"""What the default searcher picks, and that it says why."""

import pytest

from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.searcher import History, Observation, Problem
from tuner.core.space import Parameter, SearchSpace
from tuner.searchers.model import surrogate

SPACE = SearchSpace([Parameter(n, (1, 2, 4, 8)) for n in "abc"])


def history(space=SPACE, count=40, dtype="") -> History:
    told = [
        Observation(c, Measurement(Status.OK, Evidence.MEASURED, samples=(1.0 + c.get("a", 0),)))
        for c in list(space)[:count]
    ]
    return History(told, space, label="a/b on elsewhere", dtype=dtype)


@pytest.mark.parametrize(
    ("problem", "chosen", "reason"),
    [
        (Problem(SPACE, budget=64), "grid", "all 64 configurations fit into 64 trials"),
        (Problem(SearchSpace([Parameter("a", (1,))]), budget=64), "grid", "there is one configuration"),
        (Problem(SPACE, budget=63), "surrogate", "no history"),
        (Problem(SPACE), "surrogate", "open budget"),
        (Problem(SPACE, budget=20, history=[history()]), "transfer", "a/b on elsewhere"),
        (Problem(SPACE, budget=20, history=[history(count=3)]), "surrogate", "only 3 of its configurations"),
        (
            Problem(SPACE, budget=20, history=[history(SearchSpace([Parameter("z", (1, 2))]), 2)]),
            "surrogate",
            "parameter z",
        ),
        # That bf16's space is another one than f32's is known without a word.
        (
            Problem(SPACE, 0, 20, history=[history(count=3, dtype="bf16")], dtype="f32"),
            "surrogate",
            "no hist",
        ),
        (Problem(SPACE, 0, 20, history=[history(count=3, dtype="f32")], dtype="f32"), "surrogate", "only 3"),
        (Problem(SPACE, 0, 20, history=[history(dtype="bf16")], dtype="f32"), "transfer", "a/b on elsewhere"),
    ],
)
def test_choice_and_reason(problem, chosen, reason):
    searcher = registry.searcher("auto")(problem)
    assert searcher.chosen.name == chosen
    assert searcher.why.startswith(chosen) and reason in searcher.why


def test_without_the_libraries_it_still_searches(monkeypatch):
    monkeypatch.setattr(surrogate.SurrogateSearcher, "unavailable", classmethod(lambda cls: "no xgboost"))
    searcher = registry.searcher("auto")(Problem(SPACE, budget=10))
    assert searcher.chosen.name == "genetic" and "no xgboost" in searcher.why
    assert len(searcher.ask(3)) == 3
