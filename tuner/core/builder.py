"""A builder: from source to artifact, in one language."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from tuner.core.artifact import Artifact, Toolchain
from tuner.core.emulator import Interpreter
from tuner.core.errors import Unavailable
from tuner.core.source import Source
from tuner.core.target import Target


class Builder(ABC):
    """Compiles the sources of one language.

    A subclass in its own file under `tuner/builders/` is found by the registry. `build` runs in a
    child forked from a process that has imported `preload` already, under a timeout and a memory limit.
    """

    name: ClassVar[str]
    language: ClassVar[str] = ""
    """Of the sources it compiles; its name by default. Builders of one language differ in `target_kinds`."""
    target_kinds: ClassVar[tuple[str, ...]] = ()
    """The kinds of targets it compiles for; none for those that no other builder of the language names."""
    preload: ClassVar[tuple[str, ...]] = ()
    """Modules the warm process imports before the first build, so that no build pays for them."""

    @classmethod
    def compiles(cls, language: str) -> bool:
        """Whether sources of a language are its business; a builder's name always says it."""
        return language in (cls.name, cls.language)

    def unavailable(self) -> str | None:
        """Why nothing can be built on this machine; `None` if it can. Imports nothing heavy."""
        return None

    def warm_up(self) -> None:
        """Runs once in the warm process after `preload`: what every build would otherwise repeat."""

    def cuda_source(self, source: Source, target: Target) -> Source | None:
        """The CUDA C++ that a source is or becomes, of language `nvrtc`; `None` where it never is CUDA C++.

        Raises:
            BuildError: it cannot be generated.
        """
        return None

    interprets: ClassVar[bool] = False
    """Whether `interpreter` gives one."""

    def interpreter(self) -> Interpreter:
        """What runs sources unbuilt on this machine, where `interprets` says so; for `tuner check`.

        Raises:
            Unavailable: what it needs is not installed.
        """
        raise Unavailable(f"sources of {self.name} are not interpreted")

    @abstractmethod
    def toolchain(self, target: Target) -> Toolchain:
        """What builds for a target, with its version; quick, and the same in every process."""

    @abstractmethod
    def build(self, source: Source, target: Target, folder: Path) -> Artifact:
        """Compiles a source into `folder` (empty, the artifact's own).

        Raises:
            BuildError: the compiler refuses it; the message begins with its first error line.
        """
