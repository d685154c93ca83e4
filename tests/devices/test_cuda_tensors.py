"""Tensors on the device between timed calls: what a question needs is copied, and no more; on the fake."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.devices.test_cuda import loaded
from tuner.core.changes import Changes
from tuner.core.guarded import Guarded

PLACES = np.array([0, 7, 130, 255])


@pytest.fixture
def copied(fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each copy between host and device from here on."""
    sizes: list[int] = []
    copy = fake_gpu.runtime.memcpyAsync

    def counted(to: int, source: int, size: int, kind: int, stream: int) -> None:
        sizes.append(size)
        copy(to, source, size, kind, stream)

    monkeypatch.setattr(fake_gpu.runtime, "memcpyAsync", counted)
    return sizes


def test_some_elements_are_read_and_nothing_else(copied: list[int], tmp_path: Path) -> None:
    executable = loaded(tmp_path)
    executable.run()
    whole = executable.read("D").reshape(-1)
    copied.clear()
    assert np.array_equal(executable.read_at("D", PLACES), whole[PLACES])
    assert sum(copied) == PLACES.size * whole.itemsize


def test_a_sample_on_changed_inputs_writes_the_changes_alone(copied: list[int], tmp_path: Path) -> None:
    executable = loaded(tmp_path)
    executable.run()
    before = executable.read("D")
    host = {name: executable.read(name) for name in ("A", "B")}
    changes = Changes("A", PLACES, np.arange(8, dtype=np.float32))
    copied.clear()
    executable.sample_changing(3, changes, host)
    assert sum(copied) == PLACES.size * host["A"].itemsize
    assert np.array_equal(executable.read("A"), host["A"]), (
        "the host's array and the device's are the same again"
    )
    assert not np.array_equal(executable.read("D"), before)


def test_outputs_are_poisoned_where_they_lie(copied: list[int], tmp_path: Path) -> None:
    executable = loaded(tmp_path)
    executable.run()
    shape = executable.read("D").shape
    copied.clear()
    executable.poison({"D": Guarded(shape, "float32")})
    assert copied == [] and np.isnan(executable.read("D")).all()
    executable.run()
    assert not np.isnan(executable.read("D")).any()
