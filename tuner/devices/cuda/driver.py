"""Whether the NVIDIA driver can load what the installed CUDA wheels compile."""

import importlib.metadata

# Of each major release of CUDA the oldest driver that runs its machine code (CUDA Toolkit Release Notes, the
# table of toolkit and driver versions, minor version compatibility), and the extra with its wheels.
LEAST_DRIVER = {12: 525, 13: 580}
EXTRAS = {12: "cuda12", 13: "cuda"}
# Distributions whose version begins with the release of CUDA they compile for or are built against.
_COMPILERS = ("cuda-bindings",)
_CUPY = {"cupy-cuda12x": 12, "cupy-cuda13x": 13}


def installed() -> dict[str, int]:
    """CUDA's major release of what is installed here, by distribution; only metadata is read."""
    found: dict[str, int] = {}
    for name in (*_COMPILERS, *_CUPY):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        first = version.partition(".")[0]
        found[name] = _CUPY.get(name) or (int(first) if first.isdigit() else 0)
    return found


def too_old(driver: int, wheels: dict[str, int] | None = None) -> str | None:
    """One line that says that the driver is too old for what is installed; `None` where it is not.

    Args:
        driver: the highest CUDA version it serves, as `cudaDriverGetVersion` has it: 12040 is 12.4; 0 is
            no driver.
        wheels: see `installed`, which is the default.
    """
    wheels = installed() if wheels is None else wheels
    if not driver or not wheels:
        return None
    name, needed = max(wheels.items(), key=lambda each: each[1])
    served = driver // 1000
    if needed <= served:
        return None
    line = f"the NVIDIA driver serves CUDA {served}.{driver % 1000 // 10} and {name} is of CUDA {needed}"
    update = f"update the driver to {LEAST_DRIVER.get(needed, 580)} or later"
    if served in EXTRAS:
        return f"{line}: {update}, or in a new environment pip install 'kernel-tuner-lab[{EXTRAS[served]}]'"
    return f"{line}: {update}; the oldest that serves is {min(LEAST_DRIVER.values())}, with the extra cuda12"
