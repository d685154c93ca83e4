"""What a program may give the drop-in by mistake: it goes on, or one line says what would be right."""

import pytest

from tests.integrations.test_triton_autotune import add, trials
from tuner.core.errors import InvalidSpace
from tuner.integrations.triton.identity import config_of, workload_of


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def test_an_exception_that_cannot_say_itself_is_a_failed_trial(lab, numbers):
    def hook(_):
        raise Silent

    bad = lab.triton.Config({"BLOCK": 16}, pre_hook=hook)
    kernel, _ = lab.tuned([bad, lab.config(32)])
    assert add(lab, kernel, numbers) == 0 and kernel.best_config.kwargs["BLOCK"] == 32
    assert sorted(status for status, _ in trials(lab)) == ["ok", "run_error"]


def test_a_constant_that_is_not_finite_is_kept(lab, numbers):
    """`float("-inf")` is what attention masks with."""
    kernel, _ = lab.tuned([lab.config(16, KIND=float("-inf")), lab.config(32)])
    assert add(lab, kernel, numbers) == 0
    assert {config.get("KIND"): status for status, config in trials(lab)} == {
        None: "ok",
        "-inf": "wrong_result",
    }, "one of two that writes nothing is the wrong one, though it comes first"


def test_no_address_is_part_of_an_identity(lab):
    """It is another one in every process: nothing stored would be found again."""
    said = config_of(lab.config(16, KIND=lambda x: x, OTHER=object()))
    assert "0x" not in str(said) and said["KIND"] != config_of(lab.config(16, KIND=lambda x: 2 * x))["KIND"]
    assert "0x" not in workload_of("k", {"act": add, "other": object()}, []).key


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"trials": 0}, "trials is a whole number of at least 1, not 0"),
        ({"trials": "9"}, "trials is a whole number"),
        ({"seed": -1}, "seed is a whole number of at least 0"),
        ({"tolerance": float("nan")}, "tolerance is a share"),
        ({"tolerance": -1.0}, "tolerance is a share"),
    ],
)
def test_a_number_that_is_none_of_its_kind_is_refused_where_it_stands(lab, wrong, words):
    with pytest.raises(InvalidSpace, match=words):
        lab.tuned({"BLOCK": [16, 32]}, search="random", **wrong)


def test_a_list_of_configurations_is_no_range(lab):
    with pytest.raises(InvalidSpace, match="a search needs ranges"):
        lab.tuned([lab.config(16)], search="random")
