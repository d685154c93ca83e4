"""A target: what code is compiled for. Pure data, so any machine can describe any target."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.core.errors import UnknownName


@dataclass(frozen=True)
class Target:
    """An architecture and its limits.

    Attributes:
        kind: `cpu` or `cuda`.
        arch: the instruction set or compute capability: `avx2`, `avx512`, `sm_90`.
        features: what the compiler may use, e.g. `("fma", "avx2")`; sorted, hashable.
        limits: numbers by name, in bytes, counts, hertz or bytes a second, e.g. `l2_bytes`, `cores`.
            Constraints of a search space refer to them by these names.
    """

    kind: str
    arch: str
    features: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """`kind:arch`, the form the command line takes."""
        return f"{self.kind}:{self.arch}"

    def limit(self, name: str) -> float:
        """A limit by name.

        Raises:
            UnknownName: the target does not state it; the message lists those it does.
        """
        try:
            return self.limits[name]
        except KeyError:
            raise UnknownName(f"limit of target {self.name}", name, list(self.limits)) from None

    def __str__(self) -> str:
        return self.name
