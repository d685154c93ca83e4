"""Random attentions."""

import random

from tuner import registry
from tuner.core.errors import InvalidWorkload
from tuner.core.workload import Workload

ATTENTION = registry.operator("attention")


def draw(rng: random.Random, dtype: str = "f32", **fixed: object) -> Workload:
    """A random valid workload; `fixed` dimensions and options are as given."""
    while True:
        kv_heads, group = rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2, 4, 5])
        values: dict[str, object] = {
            "b": rng.choice([1, 1, 2, 3]), "h": kv_heads * group,
            "q": rng.choice([1, 1, 2, 7, rng.randint(1, 150)]),
            "kv": rng.choice([1, 16, rng.randint(1, 300)]),
            "d": rng.choice([16, 32, 64, 128, 256, rng.randint(16, 130)]),
            "causal": rng.random() < 0.5, "kv_heads": kv_heads, "paged": rng.random() < 0.4,
            "scale": rng.choice([0.0, 0.0, 0.25, 0.015625]),
            "frozen": rng.random() < 0.2,
        }  # fmt: skip
        values["paged"] = bool(values["paged"]) and not fixed.get("frozen", values["frozen"])
        if values["paged"]:
            values["page_size"] = rng.choice([1, 7, 16, 16, 64])
        try:
            return ATTENTION.workload(dtype, **{**values, **fixed})
        except InvalidWorkload:
            continue


def sibling(rng: random.Random, workload: Workload) -> Workload:
    """Another shape of the same dtype and options: a shape-generic artifact computes both."""
    options = {**ATTENTION.options, **dict(workload.options)}
    heads = int(options["kv_heads"])
    while True:
        found = draw(rng, workload.dtype, **options, h=(heads or 1) * rng.choice([1, 2, 3]))
        if found.options == workload.options:
            return found
