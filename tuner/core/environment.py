"""Environment variables that make a library slower than people see it, so no measurement may inherit them.

Libraries read them when they are first loaded: changing `os.environ` in a running process is too late.
A process that runs kernels or library baselines is therefore started afresh with `clean_environment()`.
"""

import os
from collections.abc import Mapping

SCRUBBED = (
    # OpenBLAS: its kernels (told "Haswell", an AVX-512 machine runs AVX2 code), blocking, threads.
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    # MKL and oneDNN: instruction set, reproducible (slower) code paths, threads.
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    # cuBLAS: f32 products rounded to TF32 without having been asked for.
    "NVIDIA_TF32_OVERRIDE",
    "CUPY_TF32",
    # CUDA: each launch waits for the kernel, so that nothing can be queued before a sample.
    "CUDA_LAUNCH_BLOCKING",
    # Threads: the protocol says how many and where.
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "OMP_WAIT_POLICY",
    "GOMP_CPU_AFFINITY",
    "GOMP_SPINCOUNT",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "TVM_NUM_THREADS",
    "TVM_BIND_THREADS",
)


def clean_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of an environment (`None`: this process's) without `SCRUBBED`, to start a process with."""
    source = os.environ if environ is None else environ
    return {name: value for name, value in source.items() if name not in SCRUBBED}
