"""Names of NVIDIA architectures taken apart: `sm_90` is compute capability 9.0, `sm_103a` 10.3 and no other.

The letter says on what the code runs (CUDA C++ Programming Guide 13.0, "Binary Compatibility" and
"Architecture- and Family-Specific Features"). Without one: on the same major and the same or a higher minor
number. `a`: on exactly this capability, and the code may use what only it has, as `wgmma` on 9.0. `f`: on the
family.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# What only code for exactly one capability may use (PTX ISA 8.7: `wgmma`, `tcgen05.mma`), by its number.
_SPECIFIC = {90: "wgmma", 100: "tcgen05", 103: "tcgen05"}
_NAME = re.compile(r"sm_(?P<major>\d{1,2})(?P<minor>\d)(?P<letter>[af]?)")


@dataclass(frozen=True, slots=True)
class ComputeCapability:
    """What an architecture's name says.

    Attributes:
        major, minor: 10 and 3 of `sm_103a`.
        letter: `a`, `f`, or empty.
    """

    major: int
    minor: int
    letter: str = ""

    @property
    def number(self) -> int:
        """As compilers count, without the letter: 103."""
        return 10 * self.major + self.minor

    @property
    def arch(self) -> str:
        """The name: `sm_103a`."""
        return f"sm_{self.number}{self.letter}"

    @property
    def macros(self) -> dict[str, str]:
        """The macros by which a kernel chooses code for an architecture, as nvcc and NVRTC define them."""
        found = {"__CUDA_ARCH__": f"{self.number}0"}
        if self.letter == "a":
            found[f"__CUDA_ARCH_FEAT_SM{self.number}_ALL"] = "1"
            found["__CUDA_ARCH_SPECIFIC__"] = f"{self.number}0"
        if self.letter:
            found["__CUDA_ARCH_FAMILY_SPECIFIC__"] = f"{self.number}0"
        return found

    def runs_on(self, major: int, minor: int) -> bool:
        """Whether machine code for it runs on a device of this compute capability."""
        exact = self.letter == "a"
        return major == self.major and (minor == self.minor if exact else minor >= self.minor)


def compute_capability(arch: str) -> ComputeCapability:
    """The compute capability of `sm_90`, `sm_90a`, `sm_103`, ...

    Raises:
        ValueError: it is no such name.
    """
    found = _NAME.fullmatch(arch)
    if found is None:
        raise ValueError(f"{arch!r} is no CUDA architecture: they are spelled sm_80, sm_90a, sm_120")
    return ComputeCapability(int(found["major"]), int(found["minor"]), found["letter"])


def specific_features() -> frozenset[str]:
    """What is there on some capability, and for code with the letter `a` only: `wgmma`, `tcgen05`."""
    return frozenset(_SPECIFIC.values())


def specific_feature(arch: str) -> str | None:
    """What code for exactly this capability may use and other code may not, whatever the letter of the name;
    `None` where there is nothing."""
    return _SPECIFIC.get(compute_capability(arch).number)


def arch_for(arch: str, needed: Iterable[str]) -> str:
    """The architecture to build code for that needs some features: `sm_90` with `wgmma` is `sm_90a`.

    Args:
        arch: of the target, with or without a letter.
        needed: names of features; those that any code of the target may use change nothing.
    """
    capability = compute_capability(arch)
    if capability.letter or _SPECIFIC.get(capability.number) not in set(needed):
        return arch
    return f"{arch}a"
