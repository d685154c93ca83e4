"""The fake GPU, for tests that ask for it by name."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.devices import fake_cupy
from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.devices.cuda import context, facts, state


@pytest.fixture
def fake_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """This process, and those it starts, see a GPU that is a fake; gives the fake."""
    for reason in (registry.builder("nvrtc").unavailable(), CudaEmulatedBuilder().unavailable()):
        if reason:
            pytest.skip(reason)
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(fake_cupy.install(folder)))
    for name in [n for n in sys.modules if n.partition(".")[0] in ("cupy", "cupy_backends", "pynvml")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(facts, "missing", lambda: None)
    # The fake looks for the source beside the cubin where the lab builds.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    fake_cupy.machine.__init__()  # type: ignore[misc]
    # Queueing takes the fake's host the time that its model says, not that of the emulator.
    monkeypatch.setattr(context, "host_clock", lambda: fake_cupy.machine.host_ns * 1e-9)
    caches = (facts.devices, context.open_context, state._handle)
    for cached in caches:
        cached.cache_clear()
    yield fake_cupy
    for cached in caches:
        cached.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] in ("cupy", "pynvml")]:
        sys.modules.pop(name)
