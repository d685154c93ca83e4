"""A searcher over declared ranges in place of a list of configurations."""

import pytest

from tests.integrations.test_triton_autotune import add, trials
from tuner.core.errors import InvalidSpace, UnknownName
from tuner.core.space import Constraint, Parameter, SearchSpace
from tuner.integrations.triton import autotune
from tuner.integrations.triton.tuning import Rejected

RANGES = {"BLOCK": [16, 32, 64, 128, 256], "num_warps": [1, 2, 4, 8]}


def milliseconds(config):
    """Least at BLOCK=64 on 2 warps."""
    return 1 + abs(config["BLOCK"] - 64) / 64 + abs(config["num_warps"] - 2) / 2


@pytest.mark.parametrize("searcher", ["surrogate", "random"])
def test_a_searcher_finds_the_best_of_its_ranges_and_no_process_tries_them_again(lab, numbers, searcher):
    kernel, bench = lab.tuned(RANGES, milliseconds=milliseconds, search=searcher, trials=10)
    assert add(lab, kernel, numbers) == 0
    tried = {(c["BLOCK"], c["num_warps"]) for c in bench.timed}
    assert len(tried) == len(bench.timed) == 10
    chosen = min(tried, key=lambda c: milliseconds({"BLOCK": c[0], "num_warps": c[1]}))
    assert (kernel.best_config.kwargs["BLOCK"], kernel.best_config.num_warps) == chosen
    again, other = lab.tuned(RANGES, milliseconds=milliseconds, search=searcher, trials=10)
    assert add(lab, again, numbers) == 0 and other.timed == []
    assert again.best_config == kernel.best_config
    more, third = lab.tuned(RANGES, milliseconds=milliseconds, search=searcher, trials=12)
    add(lab, more, numbers)
    assert len(third.timed) == 2


def test_a_search_ends_where_everything_was_tried_and_shares_its_trials_with_lists(lab, numbers):
    listed, _ = lab.tuned([lab.config(16), lab.config(32)])
    add(lab, listed, numbers)
    kernel, bench = lab.tuned({"BLOCK": [16, 32, 64]}, search="grid", trials=100)
    assert add(lab, kernel, numbers) == 0
    assert [c["BLOCK"] for c in bench.timed] == [64] and kernel.best_config.kwargs["BLOCK"] == 16


def test_constraints_and_the_users_pruning_are_kept(lab, numbers):
    space = SearchSpace(
        [Parameter("BLOCK", (16, 32, 64, 128)), Parameter("num_warps", (1, 2, 4))],
        [Constraint("large", "BLOCK >= 32 * num_warps")],
    )

    def prune(configs, named, **more):
        return [config for config in configs if config.num_warps > 1]

    kernel, bench = lab.tuned(
        space, search="random", trials=50, milliseconds=milliseconds,
        prune_configs_by={"early_config_prune": prune},
    )  # fmt: skip
    add(lab, kernel, numbers)
    assert {(c["BLOCK"], c["num_warps"]) for c in bench.timed} == {(64, 2), (128, 2), (128, 4)}


def test_failures_teach_the_searcher_and_a_wrong_result_is_none(lab, numbers):
    ranges = {"BLOCK": [16, 24, 32], "KIND": ["right", "half"]}
    kernel, _ = lab.tuned(ranges, search="grid", trials=6)
    with pytest.warns(Rejected, match="KIND: half"):
        assert add(lab, kernel, numbers) == 0
    statuses = [status for status, _ in trials(lab)]
    assert sorted(statuses) == ["ok", "ok", "run_error", "run_error", "wrong_result", "wrong_result"]


def test_what_cannot_be_searched_is_one_line(lab, numbers):
    add_kernel = lab.triton.jit(lab.kernels.add)
    with pytest.raises(UnknownName, match="unknown searcher 'surogate': did you mean 'surrogate'"):
        autotune(RANGES, ["n"], search="surogate")(add_kernel)
    with pytest.raises(InvalidSpace, match="the range of BLOCK is a list of values, not 16"):
        autotune({"BLOCK": 16}, ["n"], search="random")(add_kernel)
    with pytest.raises(InvalidSpace, match="a search needs ranges"):
        autotune({}, ["n"], search="random")(add_kernel)
    with pytest.raises(InvalidSpace, match="search="):
        autotune({"BLOCK": [16]}, ["n"])(add_kernel)
    with pytest.raises(InvalidSpace, match="nothing is timed in Triton's interpreter"):
        add(lab, autotune(RANGES, ["n"], search="random")(add_kernel), numbers)
