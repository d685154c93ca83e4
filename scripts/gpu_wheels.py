"""Which wheels of a folder a Python needs to run the lab, and their installation beside what it has.

python3 scripts/gpu_wheels.py WHEELS OUT EXTRA [NAME...]

Installs into OUT/site what WHEELS has of the lab's dependencies, those of EXTRA (`gpu` or `gpu12`) and NAMEs,
and of what these need: only distributions that this Python lacks, or has in a version that pyproject.toml
refuses. A virtual environment would not do: where Python itself is in one, `--system-site-packages` shows the
packages of neither. A wheel may lie there in pieces, `NAME.whl.part-*`, in the order of their names. Prints a
line a distribution; exit code 1 where a requirement is left without one, or pip's.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def _packaging(wheels: Path) -> Any:
    """Modules of `packaging`: its own, or the copy within pip, which may itself be among the wheels."""
    sys.path += [str(path) for path in sorted(wheels.glob("pip-*.whl"))]
    try:
        from packaging import requirements, tags, utils, version
    except ImportError:
        from pip._vendor.packaging import requirements, tags, utils, version
    return requirements, tags, utils, version


def joined(wheels: Path, out: Path) -> list[Path]:
    """The wheels of a folder; those in pieces are put together in `out/joined`."""
    found = {path.name: path for path in sorted(wheels.glob("*.whl"))}
    pieces: dict[str, list[Path]] = {}
    for path in sorted(wheels.glob("*.whl.part-*")):
        pieces.setdefault(path.name.partition(".part-")[0], []).append(path)
    for name in pieces.keys() - found.keys():
        whole = out / "joined" / name
        whole.parent.mkdir(parents=True, exist_ok=True)
        with whole.open("wb") as stream:
            for path in pieces[name]:
                with path.open("rb") as piece:
                    shutil.copyfileobj(piece, stream)
        found[name] = whole
    return [found[name] for name in sorted(found)]


class Wanted:
    """What pyproject.toml and the command line ask for, by the normalized names of distributions."""

    def __init__(self, packaging: Any, extra: str, names: Iterable[str], pyproject: Path) -> None:
        requirements, _, self._utils, _ = packaging
        project = tomllib.loads(pyproject.read_text())["project"]
        own = self._utils.canonicalize_name(project["name"])

        def of(lines: Iterable[str]) -> Iterator[Any]:
            for line in lines:
                requirement = requirements.Requirement(line)
                if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                    continue
                if self._utils.canonicalize_name(requirement.name) == own:
                    for inner in requirement.extras:
                        yield from of(project["optional-dependencies"][inner])
                else:
                    yield requirement

        extras = project["optional-dependencies"]
        testing = [line for line in extras["dev"] if requirements.Requirement(line).name in set(names)]
        asked = list(of([*project["dependencies"], *extras[extra], *names, *testing]))
        self.names = {self._name(requirement): requirement.name for requirement in asked}
        self._asked = asked
        # CuPy of CUDA 12 and of CUDA 13 are one module: what only the other driver needs stays away.
        other = {"gpu": "gpu12", "gpu12": "gpu"}[extra]
        self.others = {self._name(requirement) for requirement in of(extras[other])} - self.names.keys()

    def _name(self, requirement: Any) -> str:
        return str(self._utils.canonicalize_name(requirement.name))

    def refuses(self, name: str, version: str) -> str | None:
        """The first requirement that a distribution's version does not meet."""
        for requirement in self._asked:
            if self._name(requirement) == name and not requirement.specifier.contains(
                version, prereleases=True
            ):
                return str(requirement)
        return None


def chosen(packaging: Any, wheels: Iterable[Path], wanted: Wanted) -> dict[str, tuple[Any, Path]]:
    """Of each distribution the newest wheel that this Python can take and pyproject.toml allows."""
    _, tags, utils, _ = packaging
    here = set(tags.sys_tags())
    found: dict[str, tuple[Any, Path]] = {}
    for path in wheels:
        try:
            name, version, _, fits = utils.parse_wheel_filename(path.name)
        except utils.InvalidWheelFilename as error:
            print(f"left out: {error}")
            continue
        if name in wanted.others or not fits & here or wanted.refuses(name, str(version)):
            print(f"left out: {path.name} is for another driver, Python or version of the lab")
        elif name not in found or version > found[name][0]:
            found[name] = version, path
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def main(
    wheels: Path, out: Path, extra: str, names: list[str], pyproject: Path = ROOT / "pyproject.toml"
) -> int:
    """See the top of this file; the exit code."""
    packaging = _packaging(wheels)
    wanted = Wanted(packaging, extra, names, pyproject)
    brought = chosen(packaging, joined(wheels, out) if wheels.is_dir() else [], wanted)
    install, absent = [], False
    for name in sorted(wanted.names.keys() | brought.keys()):
        version = _version(name)
        refused = wanted.refuses(name, version) if version else None
        if version and not refused:
            print(f"there: {name} {version}")
        elif name in brought:
            print(
                f"brought: {name} {brought[name][0]}"
                + (f" in place of {version} ({refused})" if refused else "")
            )
            install.append(str(brought[name][1]))
        else:
            print(f"missing: {refused or name}" + (f"; there is {version}" if refused else ""))
            absent = True
    if install:
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--upgrade", "--target"]
        command += [str(out / "site"), "--disable-pip-version-check"]
        path = os.pathsep.join(
            filter(None, [*map(str, wheels.glob("pip-*.whl")), os.environ.get("PYTHONPATH")])
        )
        if done := subprocess.run([*command, *install], env={**os.environ, "PYTHONPATH": path}).returncode:
            return done
    return int(absent)


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[3] not in ("gpu", "gpu12"):
        sys.exit("usage: gpu_wheels.py WHEELS OUT gpu|gpu12 [NAME...]")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
