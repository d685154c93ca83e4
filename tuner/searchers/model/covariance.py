"""The covariance of the surrogate's Gaussian process, and how its hyperparameters are found.

A Matérn 5/2 kernel (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17) with a
length scale a feature. While few configurations are known, kernels of one and of two parameters are added to
it (Duvenaud, Nickisch, Rasmussen: Additive Gaussian processes, NeurIPS 2011): most of what tells apart
configurations are the effects of single parameters and of pairs, and what a kernel of one parameter learns in
one place it believes everywhere.
"""

import math
from collections.abc import Sequence

import numpy as np

JITTER = 1e-8
# Deviations a priori: of the kernel over all features, alone and beside the others; of those two.
_ALONE, _BESIDE, _SINGLES, _PAIRS = 1.0, 0.9, 0.4, 0.4


def _matern(scaled_a: np.ndarray, scaled_b: np.ndarray) -> np.ndarray:
    """Correlation of rows already divided by the length scales: [len(a), len(b)]."""
    squares = (scaled_a**2).sum(1)[:, None] + (scaled_b**2).sum(1)[None, :] - 2.0 * (scaled_a @ scaled_b.T)
    r = np.sqrt(np.maximum(5.0 * squares, 1e-12))
    result: np.ndarray = (1.0 + r * (1.0 + r / 3.0)) * np.exp(-r)
    return result


def _correlation(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation at squared distances, and minus its derivative by them: -5/6 (1 + r) exp(-r)."""
    r = np.sqrt(5.0 * squares + 1e-12)
    decay = np.exp(-r)
    return (1.0 + r * (1.0 + r / 3.0)) * decay, (5.0 / 6.0) * (1.0 + r) * decay


def factor(covariance: np.ndarray) -> np.ndarray:
    """The lower Cholesky factor of a covariance that rounding may have made indefinite.

    Many near observations under long length scales have eigenvalues below what float64 resolves beside a
    large signal: then the diagonal is raised, a hundred times more each time, until there is a factor.

    Args:
        covariance: float64[n, n], with its noise.

    Raises:
        np.linalg.LinAlgError: it is not finite.
    """
    raised = covariance
    mean = float(np.mean(np.diag(covariance)))
    for share in (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0):
        try:
            return np.linalg.cholesky(raised)
        except np.linalg.LinAlgError:
            raised = covariance + share * mean * np.eye(len(covariance))
    return np.linalg.cholesky(raised)


class Hyperparameters:
    """Length scales and deviations, found by the most probable a posteriori.

    Priors on the logarithms are normal: length scales around sqrt(d)/2 features' ranges, so that the
    prior's roughness does not depend on the number of features (Hvarfner, Hellsten, Nardi: Vanilla
    Bayesian optimization performs great in high dimensions, ICML 2024); the kernels of one parameter use
    2/sqrt(d) of a scale, so around one range. Noise is around 0.1 standard deviations of the targets.

    Args:
        dimensions: how many features.
        groups: columns of the features by parameter, for the kernels of one and of two; empty for none.
    """

    def __init__(self, dimensions: int, groups: Sequence[Sequence[int]] = ()) -> None:
        self.dimensions = dimensions
        # Of one parameter the kernel over all features says it all.
        self._groups = [list(group) for group in groups] if len(groups) > 1 else []
        self._stretch = 0.5 * math.sqrt(max(1, dimensions))
        whole = _BESIDE if self._groups else _ALONE
        parts = [math.log(_SINGLES), math.log(_PAIRS)] if self._groups else []
        scales = np.full(dimensions, math.log(self._stretch))
        self.centre = np.r_[scales, math.log(whole), math.log(0.1), parts]
        self.width = np.r_[np.full(dimensions, 1.0), 0.7, 0.8, [0.7] * len(parts)]
        self.theta = self.centre.copy()

    @property
    def scales(self) -> np.ndarray:
        """float64[d] length scales in units of the features."""
        result: np.ndarray = np.exp(self.theta[: self.dimensions])
        return result

    @property
    def noise(self) -> float:
        """Variance of what the features do not explain."""
        return math.exp(2 * self.theta[self.dimensions + 1])

    @property
    def signal(self) -> float:
        """Variance of the explained part: all kernels together."""
        return sum(self._variances(self.theta))

    def _variances(self, theta: np.ndarray) -> tuple[float, float, float]:
        """Of the kernel over all features, of one parameter, of two."""
        whole = math.exp(2 * theta[self.dimensions])
        if not self._groups:
            return whole, 0.0, 0.0
        singles, pairs = np.exp(2 * theta[self.dimensions + 2 :])
        return whole, float(singles), float(pairs)

    def _pair_count(self) -> int:
        return max(2, len(self._groups) * (len(self._groups) - 1))

    def covariance(self, scaled_a: np.ndarray, scaled_b: np.ndarray) -> np.ndarray:
        """[len(a), len(b)] of rows already divided by the length scales, without noise."""
        whole, singles, pairs = self._variances(self.theta)
        result: np.ndarray = whole * _matern(scaled_a, scaled_b)
        if self._groups:
            total, squares = np.zeros_like(result), np.zeros_like(result)
            stretch = scaled_a.dtype.type(self._stretch)
            for group in self._groups:
                one = _matern(scaled_a[:, group] * stretch, scaled_b[:, group] * stretch)
                total += one
                squares += one * one
            result += (singles / len(self._groups)) * total
            result += (pairs / self._pair_count()) * (total * total - squares)
        return result

    def fit(self, x: np.ndarray, y: np.ndarray, iterations: int = 25) -> None:
        """Maximises the posterior by L-BFGS from the prior's centre; deterministic in (x, y).

        Args:
            x: float[n, d] features.
            y: float[n] targets of mean 0 and deviation 1.
            iterations: at most.
        """
        from scipy.optimize import minimize

        differences = np.ascontiguousarray(np.moveaxis((x[:, None, :] - x[None, :, :]) ** 2, 2, 0))
        bounds = [(-4.0, 4.0)] * self.dimensions + [(-3.0, 3.0), (-6.0, 1.0)]
        bounds += [(-3.0, 3.0)] * (len(self.centre) - len(bounds))
        found = minimize(
            self._negative_log_posterior, self.centre, args=(y, differences), jac=True, method="L-BFGS-B",
            options={"maxiter": iterations}, bounds=bounds,
        )  # fmt: skip
        if np.all(np.isfinite(found.x)):
            self.theta = found.x

    def _negative_log_posterior(
        self, theta: np.ndarray, y: np.ndarray, differences: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """With its gradient.

        Args:
            theta: as `self.theta`.
            y: float[n].
            differences: float[d, n, n], squared, of every feature.
        """
        n, d = len(y), self.dimensions
        inverse_squares = np.exp(-2 * theta[:d])
        whole, singles, pairs = self._variances(theta)
        noise = math.exp(2 * theta[d + 1])
        correlation, slope = _correlation(np.tensordot(inverse_squares, differences, 1))
        covariance = whole * correlation
        ones = [
            _correlation(self._stretch**2 * np.tensordot(inverse_squares[g], differences[g], 1))
            for g in self._groups
        ]
        total = np.sum([one for one, _ in ones], axis=0) if ones else np.zeros((n, n))
        single = total / max(1, len(ones))
        pair = (total**2 - np.sum([one**2 for one, _ in ones], axis=0)) / self._pair_count()
        covariance += singles * single + pairs * pair
        covariance[np.diag_indices(n)] += noise + JITTER
        try:
            lower = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = np.linalg.inv(covariance)
        weights = inverse @ y
        outer = np.outer(weights, weights) - inverse
        deviation = (theta - self.centre) / self.width
        value = (
            0.5 * float(y @ weights)
            + float(np.log(np.diag(lower)).sum())
            + 0.5 * float(deviation @ deviation)
        )
        gradient = deviation / self.width
        # The squared distance scales with l^-2.
        gradient[:d] -= np.tensordot(differences, outer * (whole * slope), 2) * inverse_squares
        gradient[d] -= float(np.vdot(outer, correlation)) * whole
        gradient[d + 1] -= float(np.trace(outer)) * noise
        if ones:
            for group, (one, its_slope) in zip(self._groups, ones, strict=True):
                others = singles / len(ones) + 2 * pairs / self._pair_count() * (total - one)
                change = outer * its_slope * others * self._stretch**2
                gradient[group] -= np.tensordot(differences[group], change, 2) * inverse_squares[group]
            gradient[d + 2] -= float(np.vdot(outer, single)) * singles
            gradient[d + 3] -= float(np.vdot(outer, pair)) * pairs
        return value, gradient
