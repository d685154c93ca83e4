"""What a call of somebody's Triton kernel is in the store: workload, kernel, device, toolchain, protocol."""

import ctypes
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.core.artifact import Toolchain
from tuner.core.digest import digest
from tuner.core.measurement import Evidence
from tuner.core.protocol import Protocol
from tuner.core.recorded import slug
from tuner.core.space import Config
from tuner.core.trial import TrialKey
from tuner.core.workload import LARGEST_DIM, Option, Workload, reads_as_text
from tuner.integrations.triton.source import function_digest, kernel_digest, plain_function
from tuner.store.records import DeviceInfo, KernelInfo

OPERATOR = "triton_{}"
"""The operator of a kernel that is none of the lab's: what it computes, only its program knows."""

_SHORT = {"float": "f", "bfloat": "bf", "int": "int", "uint": "uint", "fp": "f", "bf": "bf"}
# A dimension's name in a workload's key has no digits: `K2` is `k_two`.
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# What Triton takes where nobody says otherwise; a list that names it and one that does not are the same.
_DEFAULTS = {"num_warps": 4, "num_stages": 3, "num_ctas": 1}


@dataclass(frozen=True)
class Identity:
    """Everything of a trial but its configuration.

    Attributes:
        workload: the key's values and the dtypes of the arguments.
        kernel: its source with all it calls.
        device, toolchain: where it runs, what compiles it.
        protocol: with the stopwatch's name.
        evidence: of its times: `measured` on a device, `predicted` where Triton's interpreter runs it.
    """

    workload: Workload
    kernel: KernelInfo
    device: DeviceInfo
    toolchain: Toolchain
    protocol: Protocol
    evidence: Evidence

    def emulated(self) -> "Identity":
        """The same where there is no benchmarker: whether configurations are right, and no times."""
        return replace(self, evidence=Evidence.EMULATED)

    def key(self, config: Config) -> TrialKey:
        """The identity of a trial of one configuration."""
        return TrialKey(
            self.workload, self.kernel.name, self.kernel.digest, config, self.device.target,
            self.toolchain.digest, self.device.fingerprint, self.protocol.digest,
        )  # fmt: skip


def identity_of(
    function: Any, values: Mapping[str, Any], dtypes: Sequence[str], protocol: Protocol, interpreted: bool
) -> Identity:
    """The identity of the trials of one tuning.

    Args:
        function: the kernel as `@triton.autotune` gets it.
        values: of the key's arguments, by name.
        dtypes: of the arguments that have one, in order: `torch.float32`.
        protocol: how it is timed.
        interpreted: whether Triton's interpreter runs it.
    """
    name = plain_function(function).__name__
    workload = workload_of(name, values, dtypes)
    kernel = KernelInfo(name, kernel_digest(function), "triton", workload.operator)
    if interpreted:
        # The interpreter's seconds are nobody's: what a stand-in for a benchmarker says is a prediction.
        protocol = replace(protocol, timer=f"{protocol.timer}, in Triton's interpreter")
        return Identity(workload, kernel, interpreter(), toolchain(None), protocol, Evidence.PREDICTED)
    device, backend = current_device()
    return Identity(workload, kernel, device, toolchain(backend), protocol, Evidence.MEASURED)


def workload_of(name: str, values: Mapping[str, Any], dtypes: Sequence[str]) -> Workload:
    """A workload of its own: whole numbers of the key are dimensions, everything else options.

    >>> workload_of("add_kernel", {"n": 1024}, ["torch.float32", "torch.float32"]).key
    'triton_add_kernel/f32/n1024/args=f32.f32'
    """
    dims: dict[str, int] = {}
    options: dict[str, Option] = {}
    for argument, value in values.items():
        plain = _dimension(argument)
        if type(value) is int and 0 <= value <= LARGEST_DIM and plain not in dims:
            dims[plain] = value
        else:
            options[_free(slug(argument), options)] = _option(value)
    short = [short_dtype(dtype) for dtype in dtypes]
    if short:
        options[_free("args", options)] = _text(".".join(short))
    return Workload(
        OPERATOR.format(slug(name)), short[0] if short else "any", tuple(dims.items()) or (("any", 1),),
        tuple(sorted(options.items())),
    )  # fmt: skip


def short_dtype(dtype: str) -> str:
    """`f32` of `torch.float32`; a name that is none of these without its module."""
    plain = re.sub(r"[^A-Za-z0-9_]", "", dtype.rpartition(".")[2])
    match = re.fullmatch(r"([a-z]+)(\d+)", plain)
    return f"{_SHORT[match[1]]}{match[2]}" if match and match[1] in _SHORT else plain or "any"


def _dimension(name: str) -> str:
    spelled = re.sub(r"\d", lambda digit: f"_{_DIGITS[int(digit[0])]}", slug(name))
    return spelled.strip("_") or "any"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A name that is not taken: two arguments may differ in their case alone."""
    number = 1
    while (free := name if number == 1 else f"{name}_{number}") in taken:
        number += 1
    return free


def _option(value: Any) -> Option:
    if isinstance(value, bool):
        return value
    if type(value) is int and abs(value) <= LARGEST_DIM:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    return _text(_said(value))


def _said(value: Any) -> str:
    """A value that is not plain as a text that is the same in every process: `str` may tell an address."""
    function = plain_function(value)
    return named(function) if inspect.isfunction(function) else _ADDRESS.sub("", str(value))


def _text(value: str) -> str:
    """A text that a workload's key gives back: no separators, and nothing that reads as a number."""
    plain = re.sub(r"[^\w.+-]+", "_", value)[:60]
    if plain != value:
        plain += f"~{digest(value)[:8]}"
    return plain if reads_as_text(plain) else f"text~{plain}"


def config_of(config: Any) -> dict[str, Any]:
    """A `triton.Config` as a configuration of the store: constants first, then what the compiler takes.

    What is no plain value (a dtype, a function) is there by its name; a hook with a digest of its source.
    """
    flat: dict[str, Any] = {}
    for name, value in {**config.kwargs, **_DEFAULTS, **config.all_kwargs()}.items():
        plain = isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
        flat[name] = value if plain else _said(value)
    if flat["num_ctas"] == 1:
        del flat["num_ctas"]
    if config.pre_hook is not None:
        flat["pre_hook"] = named(config.pre_hook)
    return flat


def named(function: Any) -> str:
    """A function by its name and a digest of its source: two lambdas are two."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}@{function_digest(function)}"


def interpreter() -> DeviceInfo:
    """Triton's interpreter as a device: it runs kernels, and no time of it is one."""
    name = "Triton's interpreter"
    return DeviceInfo("triton-interpreter", name, "interpreter", "interpreter:triton", {"model": name})


def current_device() -> tuple[DeviceInfo, Any]:
    """The device that Triton launches on now, as its driver tells of it, and its target.

    Two boards of a kind with one driver are one device.
    """
    from triton.runtime.driver import driver

    target, index = driver.active.get_current_target(), driver.active.get_current_device()
    facts: dict[str, Any] = {"index": index, "arch": str(target.arch)}
    model = f"{target.backend} {target.arch}"
    try:
        import torch

        properties = torch.cuda.get_device_properties(index)
        model = str(properties.name)
        facts |= {
            "memory_bytes": int(properties.total_memory),
            "sm_count": int(properties.multi_processor_count),
        }
    except Exception:  # a backend of no torch: the target is what is known
        pass
    facts |= {"model": model, "driver": _driver_version()}
    known = [target.backend, {name: value for name, value in facts.items() if name != "index"}]
    arch = f"sm_{target.arch}" if isinstance(target.arch, int) else str(target.arch)
    fingerprint = f"triton-{target.backend}-{digest(known)}"
    return DeviceInfo(fingerprint, model, target.backend, f"{target.backend}:{arch}", facts), target


def _driver_version() -> str:
    """The CUDA version that the driver serves, `13.0`; empty where there is no such driver."""
    version = ctypes.c_int(0)
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return ""
    return "" if failed else f"{version.value // 1000}.{version.value % 1000 // 10}"


def toolchain(target: Any) -> Toolchain:
    """Triton's version with what changes its output: the backend with its assembler, and the environment.

    Args:
        target: of Triton's driver; `None` for the interpreter.
    """
    import triton

    if target is None:
        return Toolchain("triton interpreter", triton.__version__)
    from triton._C.libtriton import get_cache_invalidating_env_vars
    from triton.compiler.compiler import make_backend

    environment = sorted(f"{name}={value}" for name, value in get_cache_invalidating_env_vars().items())
    return Toolchain("triton", f"{triton.__version__} ({make_backend(target).hash()})", tuple(environment))
