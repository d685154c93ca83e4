"""What a sweep that transfers reads of the store: a small history as ever, of a large one a part."""

from pathlib import Path
from typing import Any

import pytest

from tests.store.conftest import Maker
from tuner import registry
from tuner.core.measurement import Evidence, Measurement, Status
from tuner.core.trial import Trial
from tuner.engine.tuning import campaign
from tuner.engine.tuning.history import known_history
from tuner.engine.tuning.starting import predicted_starts
from tuner.store.records import DeviceInfo, KernelInfo
from tuner.store.store import Store, open_store

KERNEL = registry.kernel("cpp_packed")
GEMM = registry.operator("gemm")
DEVICE = campaign.default_device()
TARGET = DEVICE.target_for(campaign.default_protocol(DEVICE).threads)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with open_store(tmp_path / "results.db") as opened:
        yield opened


def maker(shape: str) -> Maker:
    return Maker(
        workload=GEMM.parse(shape), kernel=KernelInfo.of(KERNEL),
        device=DeviceInfo.of(DEVICE), protocol=campaign.default_protocol(DEVICE),
    )  # fmt: skip


def filled(store: Store, shape: str, count: int, batch: int = 100) -> None:
    """Trials of distinct configurations, each slower than the one before, every fourth failed."""
    make = maker(shape)
    for first in range(0, count, batch):
        sweep = store.begin_sweep(make.spec)
        trials = []
        for i in range(first, min(first + batch, count)):
            timed = Measurement(Status.OK, Evidence.MEASURED, (1e-3 * (i + 1),) * 3)
            failed = Measurement(Status.CRASH, Evidence.MEASURED, error="\nsecond line")
            trials.append(Trial(make.key({"MC": i}), failed if i % 4 == 3 else timed))
        store.add_trials(sweep, trials)


def read(store: Store, shape: str, at_most: int) -> dict[str, list[tuple[Any, float | None]]]:
    found = known_history(KERNEL, GEMM.parse(shape), TARGET, DeviceInfo.of(DEVICE), store, at_most)
    return {h.label.split()[0]: [(o.config["MC"], o.value) for o in h.observations] for h in found}


def test_a_small_history_is_read_whole_and_in_order(store: Store) -> None:
    filled(store, "64x64x64", 40, batch=15)
    filled(store, "128x64x64", 20)
    found = read(store, "96x64x64", 1000)
    assert list(found) == ["gemm/f32/m64-n64-k64", "gemm/f32/m128-n64-k64"]
    expected = [(i, None if i % 4 == 3 else 1e-3 * (i + 1)) for i in range(40)]
    assert found["gemm/f32/m64-n64-k64"] == expected
    assert found["gemm/f32/m128-n64-k64"] == expected[:20]


def test_a_large_history_is_bounded_the_most_similar_first(store: Store) -> None:
    filled(store, "1024x64x64", 300)
    filled(store, "128x64x64", 300)
    filled(store, "64x64x64", 300)
    found = read(store, "64x64x72", 100)
    assert list(found)[:2] == ["gemm/f32/m64-n64-k64", "gemm/f32/m128-n64-k64"]
    assert all(len(trials) <= 20 for trials in found.values())
    (nearest, *_) = found.values()
    numbers = [number for number, _ in nearest]
    # The fastest ones are among them, then the newest, failures included; all in the order they were made.
    assert numbers == sorted(numbers)
    assert numbers[:2] == [0, 1]
    assert numbers[2:] == list(range(282, 300))
    assert any(value is None for _, value in nearest)


def test_the_sweeps_own_trials_are_no_history(store: Store) -> None:
    filled(store, "64x64x64", 20)
    assert read(store, "64x64x64", 100) == {}


def test_the_best_predictions_start_a_sweep(store: Store) -> None:
    make = maker("64x64x64")
    space = KERNEL.space(make.workload, TARGET)
    configs = [config for config, _ in zip(space, range(30), strict=False)]
    spec = make.with_(device=DeviceInfo("described", "a board", "described", TARGET.name)).spec
    spec = type(spec)(make.workload, spec.device, make.kernel, TARGET.name, "random", 0, make.protocol)
    sweep = store.begin_sweep(spec)
    trials = []
    for i, config in enumerate(configs):
        predicted = Measurement(Status.OK, Evidence.PREDICTED, (1.0 / (i + 1),))
        key = make.with_(device=spec.device).key(dict(config))
        trials.append(Trial(type(key)(**{**key.__dict__, "target": TARGET.name}), predicted))
    store.add_trials(sweep, trials)
    groups = store.history_groups(KERNEL.name, KERNEL.operator)
    found = predicted_starts(KERNEL, make.workload, TARGET, space, store, groups, 9)
    assert [dict(c) for c in found.configs] == [dict(c) for c in configs[:-4:-1]]
    assert found.ranked == 30 and "predicted for a board" in found.why
