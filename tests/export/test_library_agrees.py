"""A shared library and `tuner.load(any_shape=True)` serve a shape with the same kernel and configuration."""

import ctypes
import random
from pathlib import Path

import numpy as np
import pytest

import tuner
from tests.export.real import stored_here
from tests.export.test_library import call, kernel_of
from tuner import registry
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.program.load import choose
from tuner.engine.tuning.campaign import default_protocol
from tuner.export import serve
from tuner.export.adapt import adapter
from tuner.export.library import package
from tuner.export.library.package import Written, levels_of, write_library
from tuner.export.serve import pick_by_rule
from tuner.store.store import open_store

# Made-up times, in microseconds for a million products: what suits few rows and what suits many differs,
# and with a bias the other way round.
CANDIDATES = [
    ("cpp_naive", {"threads": 1}, 60, 90), ("cpp_tiled", {"threads": 1}, 80, 40),
    ("cpp_register", {"MR": 4, "threads": 1}, 100, 50),
]  # fmt: skip
SIZES = [(m, n, k) for m in (4, 16, 256, 512) for n in (48, 192) for k in (32,)]
CLASSES = ["", "/bias"]


def made_up() -> list[tuple[str, str, dict, float]]:
    found = []
    for options in CLASSES:
        for m, n, k in SIZES:
            few = (m <= 16) != bool(options)
            for name, wishes, first, second in CANDIDATES:
                speed = first if few else second
                found.append((f"gemm/f32/m{m}-n{n}-k{k}{options}", name, wishes, m * n * k * speed * 1e-12))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    folder = tmp_path_factory.mktemp("agrees")
    device = CpuDevice()
    with pytest.MonkeyPatch.context() as patch, open_store(str(folder / "made.db")) as store:
        # For this processor alone: what lesser ones get is not the rule's.
        patch.setattr(package, "levels_of", lambda device: levels_of(device)[:1])
        entries = made_up()
        stored_here(store, entries, threads=default_protocol(device).threads)
        workloads = [Workload.from_key(key) for key in dict.fromkeys(key for key, *_ in entries)]
        return folder / "made.db", write_library(folder / "package", "operators", workloads, device, store)


@pytest.fixture(scope="module")
def library(made: tuple[Path, Written]) -> ctypes.CDLL:
    return ctypes.CDLL(str(made[1].folder / "lib" / "liboperators.so"))


def random_shapes() -> list[str]:
    rng = random.Random(18)
    found = []
    for number in range(30):
        m, n, k = (round(2 ** rng.uniform(0, 11)) for _ in range(3))
        if number % 3:  # of those far from the tuned ones all get the default
            n, k = rng.randint(30, 300), rng.randint(17, 60)
        found.append(f"gemm/f32/m{m}-n{n}-k{k}{CLASSES[number % 2]}")
    return [*found, *(f"gemm/f32/m{m}-n{n}-k{k}" for m, n, k in SIZES[:3])]


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table is read once and not for every shape."""
    known, read = {}, serve.read_local

    def read_known(*words: object, shapes: dict | None, **named: object) -> object:
        asked = frozenset(shapes or ())
        if asked not in known:
            known[asked] = read(*words, shapes=shapes, **named)
        return known[asked]

    monkeypatch.setattr(serve, "read_local", read_known)


@pytest.mark.usefixtures("read_once")
def test_they_pick_alike_for_random_shapes(made: tuple[Path, Written], library: ctypes.CDLL) -> None:
    device, seen = CpuDevice(), set()
    of_label = {v.label: v for plan in made[1].plan.operators for v in plan.variants}
    adapt = adapter(device.target_for(default_protocol(device).threads))
    with open_store(str(made[0]), read_only=True) as store:
        rows = store.best(operator="gemm")
        for key in random_shapes():
            workload = Workload.from_key(key)
            variant = of_label[kernel_of(library, key)]
            served = pick_by_rule(workload, rows, device, store, (), None)
            if any(row.workload == workload for row in rows):
                _, kernel, config, note = choose(workload, rows, device, None)
                assert not note
                expected = kernel.name, config
            else:
                assert served is not None
                expected = served.kernel, served.config
            assert expected == (variant.kernel.name, adapt(variant.kernel.name, workload, variant.config)), (
                key
            )
            seen.add((variant.kernel.name, "bias" in key))
    assert len(seen) >= 4  # each class has a tree that tells shapes apart


def test_what_load_returns_is_what_was_compared(made: tuple[Path, Written], library: ctypes.CDLL) -> None:
    key = "gemm/f32/m300-n100-k40"
    workload = Workload.from_key(key)
    loaded = tuner.load("gemm", db=str(made[0]), any_shape=True, **dict(workload.dims))
    assert kernel_of(library, key).split()[0] == loaded.kernel
    inputs = registry.operator("gemm").inputs(workload, 0)
    code, outputs = call(library, key, inputs)
    assert code == 0
    np.testing.assert_array_equal(outputs["D"], loaded(inputs["A"], inputs["B"]))
