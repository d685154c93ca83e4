"""`load`: what it refuses and how it says so, and that a damaged cache is mended."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

import tuner
from tests.store.conftest import Maker
from tuner import registry
from tuner.core.errors import BuildError, TunerError, Unavailable
from tuner.core.protocol import Protocol
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.devices.cpu.runtime import runtime
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.load import choose, load_rows, one_state
from tuner.engine.program.tuned_kernel import Origin, TunedKernel
from tuner.store.records import DeviceInfo, KernelInfo
from tuner.store.store import open_store

WORKLOAD = Workload.from_key("gemm/f32/m24-n16-k8")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def loaded(name: str = "cpp_naive") -> TunedKernel:
    runtime.cache_clear()  # the device's helper comes from the cache again
    kernel, device = registry.kernel(name), CpuDevice()
    config = kernel.space(WORKLOAD, device.target).sample(random.Random(0))
    artifact = build_cached(kernel, WORKLOAD, config, device.target)
    return TunedKernel(WORKLOAD, kernel, config, artifact, device, Origin(1, 1.0))


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize("digits", [12, 18, 19, 400, 5000])
@pytest.mark.parametrize("name", sorted(registry.operators()))
def test_absurd_sizes_are_refused_in_one_line(name: str, digits: int, tmp_path: Path) -> None:
    with open_store(str(tmp_path / "empty.db")):
        pass
    operator = registry.operator(name)
    example = dict(operator.parse(operator.example).dims)
    for dim in operator.dims:
        with pytest.raises(TunerError) as caught:
            tuner.load(name, db=str(tmp_path / "empty.db"), **{**example, dim: 10**digits - 1})
        text = one_line(caught)
        assert name in text and (
            "GiB" in text or "18 digits" in text or "nothing stored" in text or dim in text
        )


@pytest.mark.parametrize("file", ["kernel.so", "artifact.json", "manifest.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x7fELF"])
@pytest.mark.sampled(3)
def test_a_damaged_cache_is_built_again(file: str, content: bytes | None, cache: Path) -> None:
    a, b = np.random.default_rng(0).random((2, 8, 8), np.float32)
    a, b = np.tile(a, (3, 1)), np.tile(b, (1, 2))
    loaded()
    (place,) = (cache / "kernels").glob("[!.]*")
    (helper,) = (cache / "runtime").glob("[!.]*")
    for path in (place / file, helper / ("cpu.so" if file == "kernel.so" else "manifest.json")):
        if content is None:
            path.unlink()
        else:
            # Not written into: what this process has mapped stays as it is.
            path.unlink()
            path.write_bytes(content)
    np.testing.assert_allclose(loaded()(a, b), a @ b, rtol=1e-5)


def test_an_unwritable_cache_names_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(Unavailable, match="TUNER_CACHE") as caught:
        loaded()
    one_line(caught)


def test_what_a_builder_did_not_expect_is_a_build_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ValueError("extent is not\nan int32")

    monkeypatch.setattr(registry.builder("cxx"), "build", fails)
    with pytest.raises(BuildError, match=r"cannot be built for gemm/.*: ValueError: extent is not$"):
        loaded()


def test_a_lab_file_that_is_missing_is_an_error_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.kernels()
    monkeypatch.setitem(registry.broken, "schedules/gemm/tensorir/packed.py", "ImportError: no")
    with pytest.raises(
        Unavailable, match=r"schedules/gemm/tensorir/packed.py cannot be loaded.*: ImportError: no"
    ):
        load_rows(WORKLOAD, [], CpuDevice())
    registry.require_whole("conv2d")
    monkeypatch.setitem(registry.broken, "schedules/library.py", "ImportError: no")
    with pytest.raises(Unavailable, match=r"schedules/library\.py"):
        registry.require_whole("conv2d")


def test_times_as_in_a_model_choose_before_warm_ones(tmp_path: Path) -> None:
    """Though a warm call of the other kernel is the fastest of all."""
    device = CpuDevice()
    times = {"warm": (1.0, 2.0), "model": (4.0, 3.0), "cold": (5.0, 6.0)}
    with open_store(tmp_path / "r.db") as store:
        for state, seconds in times.items():
            for name, time_s in zip(("cpp_tiled", "cpp_packed"), seconds, strict=True):
                kernel = registry.kernel(name)
                info = KernelInfo(name, kernel.digest, "cxx", "gemm")
                made = Maker(WORKLOAD, info, DeviceInfo.of(device), Protocol(cache=state))
                config = kernel.space(WORKLOAD, device.target_for(1)).sample(random.Random(0))
                store.add_trials(store.begin_sweep(made.spec), [made.timed(time_s, **config)])
        rows = store.best("gemm")
    assert [row.cache for row in rows] == ["model", "model", "warm", "warm", "cold", "cold"]
    without = [row for row in rows if row.cache != "model"]
    chosen = [choose(WORKLOAD, r, device, None)[1].name for r in (rows, without)]
    assert chosen == ["cpp_packed", "cpp_tiled"]
    assert [{row.cache for row in one_state(r)} for r in (rows, without, [])] == [{"model"}, {"warm"}, set()]


def test_what_was_measured_on_one_thread_is_built_for_one(tmp_path: Path, cache: Path) -> None:
    """Not for all cores, where its space may lack it and another kernel, however slow, was taken."""
    device, workload = CpuDevice(), Workload.from_key("conv2d/f32/n8-c16-h9-w9-k32-r1-s1/frozen")
    times = {"conv_blocked_ahead": 1.0, "conv_naive": 9.0}
    with open_store(tmp_path / "r.db") as store:
        for name, time_s in times.items():
            kernel = registry.kernel(name)
            info = KernelInfo(name, kernel.digest, "cxx", "conv2d")
            made = Maker(workload, info, DeviceInfo.of(device), Protocol(threads=1))
            config = kernel.space(workload, device.target_for(1)).sample(random.Random(0))
            store.add_trials(store.begin_sweep(made.spec), [made.timed(time_s, **config)])
        rows = store.best("conv2d", threads=1)
    found = load_rows(workload, rows, device)
    for kernel in (found, pickle.loads(pickle.dumps(found))):
        assert (kernel.kernel, kernel.threads, kernel.note) == ("conv_blocked_ahead", 1, "")
        assert kernel._artifact.threads == 1


def test_files_that_are_not_the_lab_s_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.kernels()
    for name in (
        "/plugins/mine.py",
        "schedules/gemm/.#tensorir.py",
        "schedules/gemm/gone.py",
        "cuda_src/x.cpp",
    ):
        monkeypatch.setitem(registry.broken, name, "SyntaxError: no")
    for name in registry.operators():
        registry.require_whole(name)


def test_what_is_asked_for_with_so_many_threads_is_said_with_them(tmp_path: Path) -> None:
    """The command did not have them, so that running it changed nothing."""
    with open_store(tmp_path / "r.db"):
        pass
    with pytest.raises(Unavailable) as caught:
        tuner.load("gemm", m=24, n=16, k=8, threads=1, db=str(tmp_path / "r.db"))
    assert "with 1 thread can" in one_line(caught) and one_line(caught).count("--threads 1'") == 1


def test_a_kernel_that_cannot_serve_says_why_and_names_no_sweep(tmp_path: Path) -> None:
    with open_store(tmp_path / "r.db"):
        pass
    with pytest.raises(Unavailable) as caught:
        tuner.load("gemm", m=24, n=16, k=8, kernel="cpp_ahead", db=str(tmp_path / "r.db"))
    assert "add frozen to the shape" in one_line(caught) and "tuner sweep" not in one_line(caught)
