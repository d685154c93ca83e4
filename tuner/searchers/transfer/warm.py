"""The first trials of a transfer: each source's ranking as a hypothesis, weighed by what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.searchers.model.covariance import Hyperparameters
from tuner.searchers.model.gp import CandidateProcess
from tuner.searchers.model.model import ROUGHNESS
from tuner.searchers.model.targets import log_expected_improvement, press
from tuner.searchers.transfer.sources import SourceTask

# How far a device departs from a source, in the source's own units (see `SourceTask.level`): as far as the
# source departs from its median. Anything smaller tries five variants of one idea first: over the recorded
# spaces the best of five trials is at 0.86 of the optimum with 0.3, 0.90 with 1.
_SIGNAL, _NOISE = 1.0, 0.2
# The slope of a target over a source is 1 a priori, worth five observations of unit spread.
_SLOPE_WORTH = 5.0


@dataclass
class _Hypothesis:
    """The target is this level, scaled and shifted, plus a smooth departure."""

    level: np.ndarray  # [candidates]
    log_prior: float


class WarmStart:
    """Orders candidates while fewer outcomes are known than a model needs.

    Args:
        sources: at least one.
        levels: float64[candidates, sources].
        features: float64[candidates, d] for distances.
    """

    def __init__(self, sources: Sequence[SourceTask], levels: np.ndarray, features: np.ndarray) -> None:
        self._features = features
        self._scale = float(np.mean([s.scale for s in sources]))
        weights = np.array([s.similarity for s in sources])
        self._mean = levels @ (weights / weights.sum())
        self._hypotheses = [
            _Hypothesis(levels[:, i], float(np.log(weights[i] / weights.max()))) for i in range(len(sources))
        ]
        if len(sources) > 1:
            self._hypotheses.append(_Hypothesis(self._mean, 0.0))
        self._hyper = Hyperparameters(features.shape[1])
        self._hyper.theta[-2:] = np.log([_SIGNAL, _NOISE])

    def acquisition(self, places: Sequence[int], times: np.ndarray) -> np.ndarray:
        """float64[candidates]: higher is better.

        Args:
            places: of the observed among the candidates.
            times: seconds, NaN for a failure.
        """
        ok = ~np.isnan(times)
        if not ok.any():
            # Without one time there is nothing to weigh: each source's own order, in turn.
            return -self._hypotheses[len(places) % len(self._hypotheses)].level
        seen = np.asarray(places)
        logs = np.log(times[ok]) / self._scale
        targets = np.empty(len(times))
        # The sources say how fast what was tried should be: that gives the place of the target's median.
        targets[ok] = press(logs - np.mean(logs - self._mean[seen[ok]]))
        targets[~ok] = max(float(targets[ok].max()), 0.5)
        scores, likelihoods = [], []
        for hypothesis in self._hypotheses:
            score, likelihood = self._score(hypothesis, seen, targets, float(targets[ok].min()))
            scores.append(score)
            likelihoods.append(likelihood + hypothesis.log_prior)
        return mixture(scores, likelihoods)

    def _score(
        self, hypothesis: _Hypothesis, seen: np.ndarray, targets: np.ndarray, best: float
    ) -> tuple[np.ndarray, float]:
        level = hypothesis.level[seen]
        around, about = level - level.mean(), targets - targets.mean()
        slope = (around @ about + _SLOPE_WORTH) / (around @ around + _SLOPE_WORTH)
        slope = float(np.clip(slope, 0.0, 1.5))
        rest = targets - slope * level
        offset = float(rest.sum() / (len(rest) + 0.5))
        process = CandidateProcess(self._hyper, self._features, len(seen))
        process.add_all(self._features[seen])
        mean, variance = process.predict(rest - offset)
        expected = mean + offset + slope * hypothesis.level
        score = log_expected_improvement(expected, variance + ROUGHNESS * self._hyper.noise, best)
        return score, process.leave_one_out(rest - offset)


def mixture(scores: Sequence[np.ndarray], log_weights: Sequence[float]) -> np.ndarray:
    """The logarithm of the mean of exp(scores) with weights proportional to exp(log_weights)."""
    weights = np.asarray(log_weights) - np.max(log_weights)
    weights = weights - np.log(np.exp(weights).sum())
    stacked = np.stack(scores) + np.maximum(weights, -20.0)[:, None]
    return np.asarray(np.logaddexp.reduce(stacked, axis=0))
