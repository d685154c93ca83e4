"""The chance that a configuration fails, learned by boosted trees from those that did."""

import numpy as np

# Fewer than this many trees and depth cannot separate "threads * registers too many" from the rest; more
# do not change what is proposed (measured on the recorded spaces with a fifth of failures).
_TREES = 30
_DEPTH = 3


def chance_of_success(
    observed: np.ndarray, failed: np.ndarray, candidates: np.ndarray, seed: int
) -> np.ndarray | None:
    """float64[len(candidates)] in [0.001, 1]; `None` while nothing failed or everything did.

    Args:
        observed: float[n, k] features of the observed configurations.
        failed: bool[n].
        candidates: float[N, k].
        seed: of the feature sampling; the same arguments give the same result.
    """
    if not failed.any() or failed.all():
        return None
    import xgboost

    settings = {
        "objective": "binary:logistic", "max_depth": _DEPTH, "eta": 0.2, "min_child_weight": 0.3,
        "colsample_bynode": 0.5, "nthread": 1, "seed": seed, "verbosity": 0,
        "base_score": float(np.clip(failed.mean(), 0.02, 0.98)),
    }  # fmt: skip
    booster = xgboost.train(settings, xgboost.DMatrix(observed, label=failed.astype(float)), _TREES)
    # Never quite excluded: a model of a few failures is often wrong.
    return np.maximum(1.0 - booster.inplace_predict(candidates).astype(float), 1e-3)
