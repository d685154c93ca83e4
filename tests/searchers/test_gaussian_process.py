"""The surrogate's Gaussian process: its fit goes downhill, and what one place teaches holds elsewhere."""

import numpy as np
import pytest

from tuner.core.space import Parameter, SearchSpace
from tuner.searchers.model.covariance import Hyperparameters
from tuner.searchers.model.features import FeatureMap
from tuner.searchers.model.gp import CandidateProcess

GROUPS = [[0], [1, 2], [3], [4]]


@pytest.mark.parametrize("groups", [[], GROUPS], ids=["one kernel", "with kernels of one and two"])
def test_the_gradient_is_that_of_the_posterior(groups):
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 5)), rng.standard_normal(12)
    hyper = Hyperparameters(5, groups)
    differences = np.moveaxis((x[:, None, :] - x[None, :, :]) ** 2, 2, 0)
    at = hyper.centre + 0.1 * rng.standard_normal(len(hyper.centre))
    _, gradient = hyper._negative_log_posterior(at, y, differences)
    steps = 1e-5 * np.eye(len(at))
    numeric = [
        (
            hyper._negative_log_posterior(at + s, y, differences)[0]
            - hyper._negative_log_posterior(at - s, y, differences)[0]
        )
        / 2e-5
        for s in steps
    ]
    assert gradient == pytest.approx(numeric, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("groups", [[], [[0, 1, 2, 3, 4]], GROUPS], ids=["none", "one group", "four"])
def test_a_place_has_the_variance_of_the_signal(groups):
    hyper = Hyperparameters(5, groups)
    places = np.random.default_rng(1).random((7, 5))
    covariance = hyper.covariance(places, places)
    assert np.diag(covariance) == pytest.approx(np.full(7, hyper.signal), rel=1e-5)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def predicted(groups, x, y, elsewhere):
    hyper = Hyperparameters(x.shape[1], groups)
    hyper.fit(x, y)
    process = CandidateProcess(hyper, elsewhere, len(x))
    process.add_all(x)
    return process.predict(y)[0]


def test_with_kernels_of_one_parameter_a_sum_of_effects_is_learned_from_fewer_places():
    rng = np.random.default_rng(2)
    effects = rng.standard_normal((8, 4))
    rows = np.array(list(np.ndindex(4, 4, 4, 4, 2, 2, 2, 2)))
    truth = sum(effects[i][rows[:, i]] for i in range(8))
    truth = (truth - truth.mean()) / truth.std()
    places = rows / rows.max(0)
    seen = rng.choice(len(rows), 24, replace=False)
    alone = predicted([], places[seen], truth[seen], places)
    beside = predicted([[i] for i in range(8)], places[seen], truth[seen], places)
    assert np.mean((beside - truth) ** 2) < 0.8 * np.mean((alone - truth) ** 2)


def test_columns_are_grouped_by_parameter():
    space = SearchSpace(
        [
            Parameter("block", (16, 48, 64)),
            Parameter("layout", ("a", "b", "c")),
            Parameter("fixed", (1,)),
            Parameter("pad", (False, True)),
        ]
    )
    features = FeatureMap(space)
    width = features.smooth(np.array([[0, 0, 0, 0]], dtype=np.int32)).shape[1]
    # A logarithm and an alignment; a column a layout; a flag; two more that a kernel declared.
    assert features.groups(width + 2) == [[0, 1], [2, 3, 4], [5], [6], [7]]


def test_many_observations_that_look_alike_under_a_large_signal_are_taken():
    """A sweep of 197 x 768 x 768 ended at its 144th trial: the covariance was not positive definite."""
    rng = np.random.default_rng(3)
    places = rng.integers(0, 2, (160, 5)).astype(float)
    truth = places @ rng.standard_normal(5)
    hyper = Hyperparameters(5, GROUPS)
    hyper.theta = np.r_[np.full(5, 4.0), 3.0, -6.0, 3.0, 3.0]
    process = CandidateProcess(hyper, places, len(places))
    process.add_all(places)
    mean, variance = process.predict(truth)
    assert np.isfinite(mean).all() and np.isfinite(variance).all()
    assert np.corrcoef(mean, truth)[0, 1] > 0.99
