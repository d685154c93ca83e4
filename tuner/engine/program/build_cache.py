"""Artifacts of kernels for a user's program, kept between runs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tuner import registry
from tuner.core.artifact import Artifact
from tuner.core.cache import cache_folder, entry, newest
from tuner.core.digest import digest
from tuner.core.errors import BuildError, TunerError, Unavailable
from tuner.core.kernel import Kernel
from tuner.core.space import Config
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.engine.building.build_process import artifact_from_plain, artifact_to_plain

# Part of an entry's name: raised when what `artifact.json` holds changes.
_FORMAT = 2
_RECORD = "artifact.json"


def build_cached(kernel: Kernel, workload: Workload, config: Config, target: Target) -> Artifact:
    """The artifact of a configuration, from the cache where it was built before and is whole.

    Where the toolchain is not there (no compiler on PATH), what any toolchain built of the same serves.

    Raises:
        BuildError: it does not compile.
        Unavailable: it is not in the cache, and its toolchain is not there or the cache cannot be written.
    """
    builder = registry.builder_of(kernel, target)
    built_from = digest(
        [_FORMAT, workload.key, kernel.digest, dict(config), target.name, list(target.features),
         sorted(target.limits.items())]
    )  # fmt: skip
    kept = cache_folder() / "kernels"
    reason = builder.unavailable()
    if reason is not None:
        found = newest(kept, f"{built_from}-")
        if found is None:
            raise Unavailable(f"kernel {kernel.name} is not in {kept} and cannot be built: {reason}")
        return _read(found)

    def fill(folder: Path) -> None:
        artifact = _build(kernel, workload, config, target, folder)
        plain = artifact_to_plain(artifact)
        plain["path"] = str(artifact.path.relative_to(folder))
        (folder / _RECORD).write_text(json.dumps(plain))

    return _read(entry(kept / f"{built_from}-{builder.toolchain(target).digest}", fill))


def _read(place: Path) -> Artifact:
    plain: Mapping[str, object] = json.loads((place / _RECORD).read_text())
    artifact = artifact_from_plain(plain)
    if artifact.path.is_absolute() or ".." in artifact.path.parts:
        raise Unavailable(f"{place / _RECORD} names a file outside of its folder: remove that folder")
    return replace(artifact, path=place / artifact.path)


def _build(kernel: Kernel, workload: Workload, config: Config, target: Target, folder: Path) -> Artifact:
    try:
        builder = registry.builder_of(kernel, target)
        return builder.build(kernel.lower(workload, config, target), target, folder)
    except TunerError:
        raise
    except Exception as error:  # a library's own words about a size or a target that it cannot have
        said = (str(error).strip() or "no reason given").splitlines()[0]
        raise BuildError(
            f"kernel {kernel.name} cannot be built for {workload.key}: {type(error).__name__}: {said}"
        ) from error
