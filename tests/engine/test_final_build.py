"""Builds for the final: what the machine failed is not called a candidate's failure."""

import pytest

from tests.engine.planted import planted
from tuner import registry
from tuner.core.errors import MachineFault
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.engine.building.build_stage import Built
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.processes.machine_faults import Fault
from tuner.engine.tuning import campaign
from tuner.engine.tuning.budget import Budget
from tuner.engine.tuning.observer import Observer
from tuner.store.records import DeviceInfo
from tuner.store.store import open_store

WORKLOAD = registry.operator("gemm").parse("16x16x16")


class Notes(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("of_machine", [True, False])
def test_a_final_without_a_candidate_that_the_machine_failed_is_not_held(tmp_path, monkeypatch, of_machine):
    fault = Fault("no space left in the temporary folder") if of_machine else None
    status = Status.ENVIRONMENT if of_machine else Status.BUILD_ERROR
    failed = Built(status, "no space left", fault=fault)
    monkeypatch.setattr(Workshop, "build_all", lambda _, requests: [failed] * len(requests))
    kernels = [planted(tmp_path, name) for name in ("one", "two")]
    device, watch = campaign.default_device(), Notes()
    plan = campaign.Plan(budget=Budget(trials=1), rounds=1)
    with open_store(str(tmp_path / "results.db")) as store:
        store.update_device(DeviceInfo.of(device, {"peak_flops_f32": 1e13}))

        def run():
            protocol = Protocol(threads=1, budget_s=0.02)
            return campaign.run_campaign(
                WORKLOAD, kernels, campaign.Setting(device, protocol, plan, store, watch)
            )

        if of_machine:
            with pytest.raises(
                MachineFault, match=r"one: its (best|default) cannot be built for the final: no space left"
            ):
                run()
        else:
            assert run().ranking is None
        assert store.count() == 2 and {s.status for s in store.sweeps()} == {"finished"}
    assert any("does not build again" in note for note in watch.notes) != of_machine
