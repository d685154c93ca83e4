"""Times and failures as targets of a model."""

import numpy as np


def warp(times: np.ndarray) -> np.ndarray:
    """Logarithms of times, centred on their median, slow ones pressed together: float64, same length.

    What decides a search happens among the fast half; a configuration 30 times slower than the median
    would otherwise take all of the model's range. The fast half is divided by its root mean square
    distance from the median, the slow half then goes through log(1 + x). In the spirit of the half-rank
    warping of Song et al., The Vizier Gaussian process bandit algorithm (arXiv:2408.11527), but keeping
    the distances of the fast half.
    """
    logs = np.log(times)
    centre = np.median(logs)
    fast = logs[logs <= centre] - centre
    scale = max(float(np.sqrt(np.mean(fast**2))), 1e-3)
    return press((logs - centre) / scale)


def press(levels: np.ndarray) -> np.ndarray:
    """x where x <= 0, log(1 + x) above."""
    return np.where(levels > 0, np.log1p(np.maximum(levels, 0.0)), levels)


def model_targets(times: np.ndarray) -> np.ndarray:
    """Targets of mean 0 and deviation 1; NaN (a failure) counts as the slowest seen.

    Args:
        times: seconds, NaN for a failure; at least one is a time.
    """
    ok = ~np.isnan(times)
    return standardised(warp(times[ok]), ok)


def standardised(successes: np.ndarray, ok: np.ndarray) -> np.ndarray:
    """Targets of all, mean 0 and deviation 1: those of the successes, failures as the largest."""
    targets = np.full(len(ok), successes.max())
    targets[ok] = successes
    deviation = float(targets.std())
    return np.asarray((targets - targets.mean()) / (deviation if deviation > 1e-9 else 1.0))


def log_expected_improvement(mean: np.ndarray, variance: np.ndarray, best: float) -> np.ndarray:
    """The logarithm of the expected improvement below `best`, stable where it is tiny.

    log EI is monotone in EI and does not vanish far from the incumbent (Ament et al., Unexpected
    improvements to expected improvement for Bayesian optimization, NeurIPS 2023). For z < -5 the
    asymptote phi(z)/z^2 stands for z*Phi(z) + phi(z): 4% off at -5, less beyond.
    """
    from scipy.special import ndtr

    deviation = np.sqrt(variance)
    z = (best - mean) / deviation
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    near = np.log(np.maximum(z * ndtr(z) + density, 1e-300))
    far = -0.5 * z * z - 0.5 * np.log(2 * np.pi) - 2 * np.log(np.maximum(-z, 1.0))
    return np.asarray(np.log(deviation) + np.where(z > -5, near, far))
