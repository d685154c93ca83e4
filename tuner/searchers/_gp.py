"""A Gaussian process with a length scale a feature, over a fixed set of candidates, updated one by one.

Kernel: Matérn 5/2 (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17) with
automatic relevance determination. The noise term is not measurement noise but what the features do not
explain of a *configuration* (alignment, the compiler's mood): it belongs to unseen candidates too, and
`predict` can count it in, so that a rough function is searched around its good places.
"""

import math

import numpy as np

_JITTER = 1e-8


def _matern(scaled_a: np.ndarray, scaled_b: np.ndarray) -> np.ndarray:
    """Correlation of rows already divided by the length scales: [len(a), len(b)]."""
    squares = (scaled_a**2).sum(1)[:, None] + (scaled_b**2).sum(1)[None, :] - 2.0 * (scaled_a @ scaled_b.T)
    r = np.sqrt(np.maximum(5.0 * squares, 1e-12))
    result: np.ndarray = (1.0 + r * (1.0 + r / 3.0)) * np.exp(-r)
    return result


class Hyperparameters:
    """Length scales, signal and noise deviation, found by the most probable a posteriori.

    Priors on the logarithms are normal: length scales around sqrt(d)/2 features' ranges, so that the
    prior's roughness does not depend on the number of features (Hvarfner, Hellsten, Nardi: Vanilla
    Bayesian optimization performs great in high dimensions, ICML 2024), signal around 1, noise around 0.1
    standard deviations of the targets.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.centre = np.r_[np.full(dimensions, math.log(0.5 * math.sqrt(max(1, dimensions)))), 0.0,
                            math.log(0.1)]  # fmt: skip
        self.width = np.r_[np.full(dimensions, 1.0), 0.7, 0.8]
        self.theta = self.centre.copy()

    @property
    def scales(self) -> np.ndarray:
        """float64[d] length scales in units of the features."""
        result: np.ndarray = np.exp(self.theta[:-2])
        return result

    @property
    def signal(self) -> float:
        """Variance of the explained part."""
        return math.exp(2 * self.theta[-2])

    @property
    def noise(self) -> float:
        """Variance of what the features do not explain."""
        return math.exp(2 * self.theta[-1])

    def fit(self, x: np.ndarray, y: np.ndarray, iterations: int = 25) -> None:
        """Maximises the posterior by L-BFGS from the prior's centre; deterministic in (x, y)."""
        from scipy.optimize import minimize

        differences = (x[:, None, :] - x[None, :, :]) ** 2
        bounds = [(-4.0, 4.0)] * self.dimensions + [(-3.0, 3.0), (-6.0, 1.0)]
        found = minimize(
            self._negative_log_posterior, self.centre, args=(y, differences), jac=True, method="L-BFGS-B",
            options={"maxiter": iterations}, bounds=bounds,
        )  # fmt: skip
        if np.all(np.isfinite(found.x)):
            self.theta = found.x

    def _negative_log_posterior(
        self, theta: np.ndarray, y: np.ndarray, differences: np.ndarray
    ) -> tuple[float, np.ndarray]:
        n, d = len(y), self.dimensions
        inverse_squares = np.exp(-2 * theta[:d])
        signal, noise = math.exp(2 * theta[d]), math.exp(2 * theta[d + 1])
        r = np.sqrt(5.0 * (differences @ inverse_squares) + 1e-12)
        decay = np.exp(-r)
        correlation = (1.0 + r * (1.0 + r / 3.0)) * decay
        covariance = signal * correlation
        covariance[np.diag_indices(n)] += noise + _JITTER
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
        # d correlation / d(squared distance) = -5/6 (1 + r) exp(-r); the squared distance scales with l^-2.
        slope = outer * (signal * (5.0 / 6.0) * (1.0 + r) * decay)
        gradient = deviation / self.width
        gradient[:d] -= np.tensordot(slope, differences, axes=([0, 1], [0, 1])) * inverse_squares
        gradient[d] -= float((outer * correlation).sum()) * signal
        gradient[d + 1] -= float(np.trace(outer)) * noise
        return value, gradient


class CandidateProcess:
    """The posterior at fixed candidates, kept up to date as observations of them come in.

    Holds V = L^-1 K(observed, candidates), one row an observation, so that a new one costs a row (n * N
    operations) instead of a new factorisation, and other targets for the same observations cost one
    product.

    Args:
        hyper: fitted.
        candidates: float[N, d] features.
        capacity: how many observations to make room for; more are taken too.
    """

    def __init__(self, hyper: Hyperparameters, candidates: np.ndarray, capacity: int) -> None:
        self._hyper = hyper
        self._scaled = (candidates / hyper.scales).astype(np.float32)
        self._rows = np.zeros((capacity, len(candidates)), dtype=np.float32)
        self._lower = np.zeros((capacity, capacity))
        self._observed = np.zeros((capacity, candidates.shape[1]), dtype=np.float32)
        self._explained = np.zeros(len(candidates), dtype=np.float32)
        self.count = 0

    def _grow(self) -> None:
        extra = len(self._rows) + 64
        self._rows = np.concatenate([self._rows, np.zeros((extra, self._rows.shape[1]), np.float32)])
        self._observed = np.concatenate(
            [self._observed, np.zeros((extra, self._observed.shape[1]), np.float32)]
        )
        lower = np.zeros((len(self._rows), len(self._rows)))
        lower[: self.count, : self.count] = self._lower[: self.count, : self.count]
        self._lower = lower

    def mark(self) -> tuple[int, np.ndarray]:
        """The present state, for `reset`."""
        return self.count, self._explained.copy()

    def reset(self, mark: tuple[int, np.ndarray]) -> None:
        """Forgets all that was added since, without a trace of rounding."""
        self.count, self._explained = mark[0], mark[1].copy()

    def add(self, features: np.ndarray) -> None:
        """Adds one observed place: float[d] features."""
        if self.count == len(self._rows):
            self._grow()
        n, signal = self.count, self._hyper.signal
        place = (features / self._hyper.scales).astype(np.float32)
        cross = signal * _matern(place[None, :], self._scaled)[0]
        among = np.zeros(n)
        if n:
            from scipy.linalg import solve_triangular

            among = solve_triangular(
                self._lower[:n, :n], signal * _matern(self._observed[:n], place[None, :])[:, 0].astype(float),
                lower=True, check_finite=False,
            )  # fmt: skip
        own = signal + self._hyper.noise + _JITTER - float(among @ among)
        diagonal = math.sqrt(max(own, self._hyper.noise * 0.5 + _JITTER))
        self._lower[n, :n], self._lower[n, n] = among, diagonal
        row = (cross - among.astype(np.float32) @ self._rows[:n]) / np.float32(diagonal)
        self._rows[n] = row
        self._explained += row * row
        self._observed[n] = place
        self.count = n + 1

    def add_all(self, features: np.ndarray) -> None:
        """Adds many observed places at once: float[n, d]; only before any other."""
        from scipy.linalg import solve_triangular

        n, signal = len(features), self._hyper.signal
        places = (features / self._hyper.scales).astype(np.float32)
        covariance = signal * _matern(places, places).astype(float)
        covariance[np.diag_indices(n)] += self._hyper.noise + 1e-6
        lower = np.linalg.cholesky(covariance)
        cross = (signal * _matern(places, self._scaled)).astype(np.float32)
        self._rows[:n] = solve_triangular(lower.astype(np.float32), cross, lower=True, check_finite=False)
        self._lower[:n, :n] = lower
        self._observed[:n] = places
        self._explained += (self._rows[:n] ** 2).sum(0)
        self.count = n

    def leave_one_out(self, targets: np.ndarray) -> float:
        """Log density of every target given all others, summed (Rasmussen and Williams, eq. 5.10 to 5.12)."""
        from scipy.linalg import solve_triangular

        n = self.count
        root = solve_triangular(self._lower[:n, :n], np.eye(n), lower=True, check_finite=False)
        variances = 1.0 / (root**2).sum(0)
        errors = variances * (root.T @ (root @ targets))
        return float(-0.5 * (np.log(variances) + errors**2 / variances).sum())

    def mean_at(self, features: np.ndarray, targets: np.ndarray) -> float:
        """The posterior mean at one place that need not be a candidate: float[d] features."""
        from scipy.linalg import cho_solve

        n = self.count
        weights = cho_solve((self._lower[:n, :n], True), targets, check_finite=False)
        place = (features / self._hyper.scales).astype(np.float32)
        cross = self._hyper.signal * _matern(place[None, :], self._observed[:n])[0]
        return float(cross @ weights)

    def predict(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the explained part at all candidates, given the observations' targets."""
        from scipy.linalg import solve_triangular

        n = self.count
        white = solve_triangular(self._lower[:n, :n], targets, lower=True, check_finite=False)
        mean = white.astype(np.float32) @ self._rows[:n]
        return mean, np.maximum(self._hyper.signal - self._explained, 1e-9)
