"""A page of `docs/` taken literally: the files it names, and the commands it gives."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGIN_ENDINGS = (".py", ".cpp", ".cu")


@dataclass(frozen=True)
class Page:
    """A how-to.

    Attributes:
        files: blocks of code whose first line names a file, by that name.
        commands: the lines `tuner ...` of its `sh` blocks, in order.
    """

    files: dict[str, str]
    commands: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> "Page":
        """`docs/NAME.md`."""
        text = (ROOT / "docs" / f"{name}.md").read_text()
        files = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        shells = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        commands = [line for block in shells for line in re.findall(r"^tuner (.*)$", block, re.MULTILINE)]
        return cls(files, tuple(commands))

    def write(self, folder: Path) -> Path:
        """Plug-ins into a folder of their own, which is returned; everything else beside it."""
        plugins = folder / "plugins"
        plugins.mkdir()
        for name, text in self.files.items():
            ((plugins if name.endswith(PLUGIN_ENDINGS) else folder) / name).write_text(text)
        return plugins


def tuner(words: list[str], plugins: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A command of the page, in the folder, as somebody who has set TUNER_PLUGINS runs it."""
    environment = {
        **os.environ, "TUNER_PLUGINS": str(plugins), "TUNER_DB": str(folder / "r.db"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "tuner", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
