"""A long measurement in steps: each is kept in a file when it is done, and not made again after a stop."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.core.errors import TunerError
from tuner.core.output_file import put

Figures = dict[str, float]


class KeptSteps:
    """Steps of a measurement, those of earlier commands too.

    Args:
        path: where they are kept; `None`: nowhere.
        setting: what is measured, and how; steps of another setting are not taken for these.
        limit_s: seconds from now on after which no further step begins; `None`: no limit.

    Attributes:
        done: figures by the step's name.
        left: names of steps that did not begin, as the time was over.

    Raises:
        TunerError: the file is none of this kind, or is of another setting.
    """

    def __init__(self, path: Path | None, setting: Mapping[str, Any], limit_s: float | None) -> None:
        self._path, self._setting = path, dict(setting)
        self._until = None if limit_s is None else time.monotonic() + limit_s
        self.done: dict[str, Figures] = {}
        self.left: list[str] = []
        if path is not None and path.exists():
            self.done = self._read(path)

    def step(self, name: str, measure: Callable[[], Figures], shown: Sequence[str] = ()) -> Figures | None:
        """The figures of a step: those that are kept, else measured now and kept.

        Args:
            name: of the step.
            measure: makes its figures.
            shown: names of figures that the line on stderr has; all if empty.

        Returns:
            `None` where the time is over.
        """
        if name in self.done:
            return self.done[name]
        begun = time.monotonic()
        if self._until is not None and begun >= self._until:
            self.left.append(name)
            return None
        found = self.done[name] = measure()
        if self._path is not None:
            put(self._path, json.dumps({"setting": self._setting, "done": self.done}, indent=1))
        said = ", ".join(f"{figure} {found[figure]:.4g}" for figure in shown or found)
        print(f"{name}, {time.monotonic() - begun:.0f} s: {said}", file=sys.stderr, flush=True)
        return found

    def _read(self, path: Path) -> dict[str, Figures]:
        try:
            said = json.loads(path.read_text())
            setting, done = said["setting"], dict(said["done"])
            whole = all(isinstance(figures, dict) for figures in done.values())
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise TunerError(f"{path} keeps no steps of a measurement: name another file")
        if setting != self._setting:
            raise TunerError(f"{path} keeps steps of another setting: name another file, or remove this one")
        print(f"{len(done)} steps are done already: {path}", file=sys.stderr, flush=True)
        return done
