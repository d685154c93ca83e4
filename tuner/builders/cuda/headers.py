"""Where NVRTC's headers are: in NVIDIA's wheels; what those lack, in a CUDA toolkit of the same release."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Of a major release: the wheel of NVRTC; those of its headers, with one header to know each by; their folders
# below `site-packages/nvidia`. `cuda_fp16.h` includes `nv/target`, which comes with libcu++.
NVRTC = {12: "nvidia-cuda-nvrtc-cu12", 13: "nvidia-cuda-nvrtc"}
_HEADERS = {
    12: {
        "nvidia-cuda-runtime-cu12": "cuda_fp16.h",
        "nvidia-cuda-nvcc-cu12": "crt/mma.h",
        "nvidia-cuda-cccl-cu12": "nv/target",
    },
    13: {
        "nvidia-cuda-runtime": "cuda_fp16.h",
        "nvidia-cuda-crt": "crt/mma.h",
        "nvidia-cuda-cccl": "nv/target",
    },
}
_FOLDERS = {
    12: ("cuda_runtime/include", "cuda_nvcc/include", "cuda_cccl/include"),
    13: ("cu13/include", "cu13/include/cccl"),
}
# Below a toolkit's root: conda has a folder for the platform, others a link to it.
_OF_A_TOOLKIT = ("include", "targets/x86_64-linux/include")
_VERSION = re.compile(r"^\s*#define\s+CUDA_VERSION\s+(\d+)", re.MULTILINE)


def release(major: int) -> str | None:
    """The release NVRTC's wheel is of, `13.0`; `None` where there is no such wheel."""
    try:
        return ".".join(importlib.metadata.version(NVRTC[major]).split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return None


def missing(major: int) -> str | None:
    """The first wheel whose headers are nowhere; `None` where all are there."""
    folders = include_folders(major)
    return next((wheel for wheel, header in _HEADERS[major].items() if not _has(folders, header)), None)


@cache
def include_folders(major: int) -> tuple[str, ...]:
    """Where `cuda_fp16.h`, `mma.h` and libcu++ are, for NVRTC of a major release of CUDA.

    Of one release only: NVRTC refuses headers of another. A toolkit is asked where a wheel's headers are not
    there, and comes after the wheels.
    """
    wheels = tuple(
        str(root / name) for name in _FOLDERS[major] for root in _roots() if (root / name).is_dir()
    )
    wanted = release(major)
    if wanted is None or all(_has(wheels, header) for header in _HEADERS[major].values()):
        return wheels
    for toolkit in _toolkits(wanted):
        for folder in (toolkit / name for name in _OF_A_TOOLKIT):
            if _release_of(folder) == wanted:
                # CUDA 13 has libcu++ in a folder of its own.
                return (*wheels, *(str(f) for f in (folder, folder / "cccl") if f.is_dir()))
    return wheels


def _has(folders: tuple[str, ...], header: str) -> bool:
    return any((Path(folder) / header).is_file() for folder in folders)


def _roots() -> list[Path]:
    """Every folder `nvidia` that wheels may have filled.

    Where one of them is a regular package Python imports that one alone, but headers lie in all.
    """
    spec = importlib.util.find_spec("nvidia")
    found = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
    found += [Path(entry or ".") / "nvidia" for entry in sys.path]
    return list(dict.fromkeys(root for root in found if root.is_dir()))


def _toolkits(wanted: str) -> Iterator[Path]:
    """Where a toolkit may be: where the environment says, where `nvcc` is, the usual places."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if value := os.environ.get(name):
            yield Path(value)
    if program := shutil.which("nvcc"):
        yield Path(program).resolve().parents[1]
    if value := os.environ.get("CONDA_PREFIX"):
        yield Path(value)
    yield Path("/usr/local/cuda")
    yield Path(f"/usr/local/cuda-{wanted}")


def _release_of(folder: Path) -> str | None:
    """The release of a toolkit's headers, as its `cuda.h` says; `None` where there is none."""
    try:
        found = _VERSION.search((folder / "cuda.h").read_text(errors="replace"))
    except OSError:
        return None
    return f"{int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}" if found else None
