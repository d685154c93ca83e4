"""Campaigns of every kind for the databases that are broken afterwards."""

from tests.store.conftest import Maker
from tuner.store.campaign_records import (
    CampaignKernel,
    CampaignLayer,
    CampaignPart,
    CampaignSpec,
    Exclusion,
)
from tuner.store.store import Store


def store_campaigns(store: Store, make: Maker) -> None:
    """A campaign with a tuned kernel, a skipped one, one given up, and a trial thrown out of its final."""
    layers = [CampaignLayer(make.workload.key, "a model", 2)]
    for kind in ("sweep", "comparison", "network"):
        spec = CampaignSpec(
            kind, "A title", make.device, "cpu:avx2", make.protocol, [make.workload], {"seed": 0}, layers,
            "experiment", "tuner compare experiment.toml",
        )  # fmt: skip
        number = store.begin_campaign(spec)
        kernels = [
            CampaignKernel("cpp_naive", "d", "cxx", searcher="random", sweep_id=1, best_id=1, trials=13,
                           summary={"statuses": {"ok": 12, "crash": 1}, "seconds": 1.0}),
            CampaignKernel("slow", "d", "cxx", given_up="behind", given_up_at=3),
            CampaignKernel("torch", skipped="not installed"),
        ]  # fmt: skip
        store.begin_part(number, 0, kernels)
        out = [Exclusion(3, "cpp_naive", "final", "wrong"), Exclusion(4, "cpp_naive", "build", "no")]
        limits = {"peak_flops_f32": 1e11, "bandwidth_bytes_per_s": 1e10}
        part = CampaignPart(0, make.workload, "finished", kernels, out, 1, limits, True, ["loud"])
        store.finish_part(number, part)
        if kind != "network":
            store.finish_campaign(number)
