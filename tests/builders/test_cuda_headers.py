"""NVRTC's headers: wheels' first, a toolkit of the same release for what they lack."""

from pathlib import Path

import pytest

from tuner.builders.cuda import headers, nvrtc_program
from tuner.builders.cuda.nvrtc import Nvrtc

_HALF = """#include <cuda_fp16.h>
#include <mma.h>
#include <cuda/std/cstdint>
extern "C" __global__ void twice(__half *x, cuda::std::int32_t n) { x[n] = __hadd(x[n], x[n]); }
"""


def _toolkit(folder: Path, version: int) -> Path:
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "cuda.h").write_text(f"#define CUDA_VERSION {version}\n")
    return folder


@pytest.mark.skipif(Nvrtc().unavailable() is not None, reason=str(Nvrtc().unavailable()))
def test_headers_that_no_wheel_has_come_from_a_toolkit_of_the_same_release(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    major = nvrtc_program.major()
    real = next(Path(f) for f in headers.include_folders(major) if (Path(f) / "cuda.h").is_file())
    if headers._release_of(real) != headers.release(major):
        pytest.skip("the headers here are of another release than NVRTC")
    other, same = _toolkit(tmp_path / "other", 11080), tmp_path / "same"
    same.mkdir()
    (same / "include").symlink_to(real)
    toolkits = [other]
    monkeypatch.setattr(headers, "_roots", list)
    monkeypatch.setattr(headers, "_toolkits", lambda wanted: iter(toolkits))
    headers.include_folders.cache_clear()
    try:
        assert headers.include_folders(major) == ()
        assert (nvrtc_program.missing() or "").startswith("nvidia-cuda-runtime")
        toolkits.append(same)
        headers.include_folders.cache_clear()
        assert headers.include_folders(major)[0] == str(same / "include")
        if headers.missing(major) is None:  # before 13 each wheel has a folder of its own
            assert nvrtc_program.compile_cubin(_HALF, "sm_80")[0][:4] == b"\x7fELF"
    finally:
        headers.include_folders.cache_clear()


def test_a_toolkit_is_known_by_its_cuda_h_and_looked_for_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = _toolkit(tmp_path / "named", 12090)
    assert headers._release_of(named / "include") == "12.9"
    assert headers._release_of(tmp_path) is None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "nvcc").chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(named))
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert list(headers._toolkits("13.0"))[:2] == [named, tmp_path]


def test_a_regular_package_named_nvidia_hides_no_headers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python imports the regular package alone, wherever the folders of other wheels lie."""
    for name in ("regular", "wheel"):
        (tmp_path / name / "nvidia").mkdir(parents=True)
        monkeypatch.syspath_prepend(tmp_path / name)
    (tmp_path / "regular" / "nvidia" / "__init__.py").touch()
    assert {tmp_path / "regular" / "nvidia", tmp_path / "wheel" / "nvidia"} <= set(headers._roots())
