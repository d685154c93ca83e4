"""Random matrix products."""

import random

from tuner import registry
from tuner.core.activations import OF_PRODUCTS
from tuner.core.errors import InvalidWorkload
from tuner.core.workload import Workload

GEMM = registry.operator("gemm")
SIZES = (1, 2, 5, 7, 16, 31, 64, 65, 100, 129)


def draw(rng: random.Random, dtype: str = "f32") -> Workload:
    """A random valid workload: of any option, small, ragged."""
    whole = dtype == "int8"
    while True:
        options = {
            "batch": rng.choice([1, 1, 3]), "trans_a": rng.random() < 0.5, "trans_b": rng.random() < 0.5,
            "alpha": rng.choice([1.0, 1.0, -2.0 if whole else -0.5, 3.0]),
            "beta": rng.choice([0.0, 0.0, 1.0, 2.0 if whole else 0.75]),
            "bias": rng.random() < 0.5, "frozen": rng.random() < 0.3,
        }  # fmt: skip
        activation = rng.choice(("", "relu", "relu", *(() if whole else OF_PRODUCTS)))
        options.update({activation: True} if activation else {})
        scale = rng.choice(["", "scale_tensor", "scale_channel"]) if whole else ""
        if scale:
            options.update({scale: True, "zero_points": rng.random() < 0.5})
        m, n, k = (rng.choice(SIZES) for _ in range(3))
        try:
            return GEMM.workload(dtype, m=m, n=n, k=k, **options)
        except InvalidWorkload:
            continue
