"""A Gaussian process over a fixed set of candidates, updated one by one.

The noise term is not measurement noise but what the features do not explain of a *configuration*
(alignment, the compiler's mood): it belongs to unseen candidates too, and the acquisition can count it in, so
that a rough function is searched around its good places.
"""

import math

import numpy as np

from tuner.searchers.model.covariance import JITTER, Hyperparameters, factor


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
        cross = self._hyper.covariance(place[None, :], self._scaled)[0]
        among = np.zeros(n)
        if n:
            from scipy.linalg import solve_triangular

            among = solve_triangular(
                self._lower[:n, :n],
                self._hyper.covariance(self._observed[:n], place[None, :])[:, 0].astype(float),
                lower=True, check_finite=False,
            )  # fmt: skip
        own = signal + self._hyper.noise + JITTER - float(among @ among)
        diagonal = math.sqrt(max(own, self._hyper.noise * 0.5 + JITTER))
        self._lower[n, :n], self._lower[n, n] = among, diagonal
        row = (cross - among.astype(np.float32) @ self._rows[:n]) / np.float32(diagonal)
        self._rows[n] = row
        self._explained += row * row
        self._observed[n] = place
        self.count = n + 1

    def add_all(self, features: np.ndarray) -> None:
        """Adds many observed places at once: float[n, d]; only before any other."""
        from scipy.linalg import solve_triangular

        n = len(features)
        scaled = features / self._hyper.scales
        places = scaled.astype(np.float32)
        covariance = self._hyper.covariance(scaled, scaled)
        covariance[np.diag_indices(n)] += self._hyper.noise + 1e-6
        lower = factor(covariance)
        cross = self._hyper.covariance(places, self._scaled).astype(np.float32)
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
        cross = self._hyper.covariance(place[None, :], self._observed[:n])[0]
        return float(cross @ weights)

    def predict(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the explained part at all candidates, given the observations' targets."""
        from scipy.linalg import solve_triangular

        n = self.count
        white = solve_triangular(self._lower[:n, :n], targets, lower=True, check_finite=False)
        mean = white.astype(np.float32) @ self._rows[:n]
        return mean, np.maximum(self._hyper.signal - self._explained, 1e-9)
