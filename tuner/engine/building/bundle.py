"""What a builder made, as one piece that travels: a tar of files, and a manifest with their digests.

    manifest.json       format, files with size and SHA-256, artifacts with paths into the bundle
    files/0/kernel.so   as they lay in the folder of the build
    ...

A bundle's name is the SHA-256 of its manifest. It fixes every byte; without it a bundle passes whose manifest
was changed together with its files.
"""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tuner.core.artifact import Artifact
from tuner.core.brief import brief
from tuner.core.digest import canonical_json
from tuner.core.errors import TunerError
from tuner.core.measurement import Status
from tuner.core.workload import Workload
from tuner.engine.building.answers import UnusableAnswer, artifact_of, number
from tuner.engine.building.build_process import artifact_to_plain
from tuner.engine.building.build_stage import Built

_FORMAT = 1
_MANIFEST = "manifest.json"
_MOST_FILES = 10_000
_LONGEST_MANIFEST = 64 * 2**20


class BundleRefused(TunerError):
    """A bundle is not what was packed: changed, cut, or with a file that would lie elsewhere."""


def bundle_name(data: bytes) -> str:
    """The SHA-256 of a bundle's manifest, in hexadecimal.

    Raises:
        BundleRefused: it has no manifest.
    """
    with _opened(data) as tar:
        return hashlib.sha256(_manifest_bytes(tar)).hexdigest()


def pack(built: Built) -> bytes:
    """A build that succeeded, with all files of its folder.

    Equal builds give equal bytes: neither times nor owners of the files are in it.

    Raises:
        BundleRefused: the build failed, its artifact lies outside its folder, or something in the folder is
            no plain file.
    """
    if built.artifact is None or built.folder is None:
        raise BundleRefused("a build that failed cannot be packed: there is no artifact")
    contents = {}
    for path in sorted(built.folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise BundleRefused(f"{path.relative_to(built.folder)} is no plain file and cannot be packed")
        if path.is_file():
            contents[f"files/{path.relative_to(built.folder).as_posix()}"] = path.read_bytes()
    manifest = {
        "format": _FORMAT,
        "files": {name: [len(c), hashlib.sha256(c).hexdigest()] for name, c in contents.items()},
        "artifact": _packed(built.artifact, built.folder, contents),
        "companions": [[w.key, _packed(a, built.folder, contents)] for w, a in built.companions],
        "build_s": built.build_s,
        "fewer_operations": built.fewer_operations,
        "constant": list(built.constant),
        "special": built.special,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in {_MANIFEST: canonical_json(manifest).encode(), **contents}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _packed(artifact: Artifact, folder: Path, contents: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        name = f"files/{artifact.path.relative_to(folder).as_posix()}"
    except ValueError:
        name = ""
    if name not in contents:
        raise BundleRefused(f"the artifact {artifact.path} does not lie in the build's folder {folder}")
    return {**artifact_to_plain(artifact), "path": name}


def unpack(data: bytes, folder: Path, name: str | None = None) -> Built:
    """The build, its files under a new folder; nothing is written before all of it was checked.

    Args:
        data: what `pack` gave.
        folder: is made; `Built.discard` removes it.
        name: what the bundle has to be, see `bundle_name`.

    Raises:
        BundleRefused: as the class says, or the name is another; the folder is not there then.
        FileExistsError: the folder is there already.
    """
    with _opened(data) as tar:
        raw = _manifest_bytes(tar)
        found = hashlib.sha256(raw).hexdigest()
        if name is not None and found != name:
            raise BundleRefused(f"the bundle is {found[:16]} and not {name[:16]}, which was asked for")
        manifest = _checked_manifest(raw)
        contents = _checked_files(tar, manifest["files"])
    built = _built(manifest, folder)
    folder.mkdir(parents=True)
    try:
        for place, content in contents.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return built


def _opened(data: bytes) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=io.BytesIO(data), mode="r:")
    except (tarfile.TarError, ValueError, OverflowError):
        raise BundleRefused("this is no bundle: it cannot be read as a tar") from None


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except (tarfile.TarError, ValueError, OverflowError):
        raise BundleRefused("the bundle is damaged: it cannot be read to its end") from None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.type != tarfile.REGTYPE:
        raise BundleRefused(f"the bundle's {brief(member.name)} is no plain file")
    file = tar.extractfile(member)
    assert file is not None
    try:
        content = file.read()
    except (tarfile.TarError, ValueError, OverflowError, OSError):
        content = b""
    if len(content) != member.size:
        raise BundleRefused(f"the bundle's {brief(member.name)} is cut short")
    return content


def _manifest_bytes(tar: tarfile.TarFile) -> bytes:
    first = _next(tar)
    if first is None or first.name != _MANIFEST or first.size > _LONGEST_MANIFEST:
        raise BundleRefused(f"this is no bundle: it does not begin with {_MANIFEST}")
    return _content(tar, first)


def _checked_manifest(raw: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise BundleRefused(f"the bundle's manifest is not of format {_FORMAT}, which this lab reads")
    files = manifest.get("files")
    if not isinstance(files, dict) or len(files) > _MOST_FILES:
        raise BundleRefused("the bundle's manifest has no list of files")
    for name in files:
        parts = PurePosixPath(name).parts
        plain = parts[:1] == ("files",) and len(parts) > 1 and ".." not in parts and name.isprintable()
        if not plain or "\\" in name or "/".join(parts) != name:
            raise BundleRefused(f"the bundle has a file that would lie elsewhere: {brief(name)}")
    return manifest


def _checked_files(tar: tarfile.TarFile, files: Mapping[str, Any]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    while (member := _next(tar)) is not None:
        if member.name not in files or member.name in contents:
            raise BundleRefused(f"the bundle has a file that its manifest does not: {brief(member.name)}")
        content = _content(tar, member)
        if [len(content), hashlib.sha256(content).hexdigest()] != files[member.name]:
            raise BundleRefused(f"the bundle's {brief(member.name)} is not what was packed")
        contents[member.name] = content
    missing = sorted(files.keys() - contents.keys())
    if missing:
        raise BundleRefused(f"the bundle lacks {brief(missing[0])}")
    return contents


def _built(manifest: Mapping[str, Any], folder: Path) -> Built:
    try:
        artifact = _unpacked(manifest["artifact"], manifest["files"], folder)
        companions = tuple(
            (Workload.from_key(key), _unpacked(raw, manifest["files"], folder))
            for key, raw in manifest["companions"]
        )
        constant = manifest["constant"]
        if not isinstance(constant, list) or not all(isinstance(name, str) for name in constant):
            raise UnusableAnswer("constant is no list of names")
        return Built(
            Status.OK, "", artifact, companions, number(manifest["build_s"], "build_s", 0.0), 0.0, folder,
            number(manifest["fewer_operations"], "fewer_operations", 1.0), tuple(constant),
            manifest["special"] is True,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, TunerError) as error:
        raise BundleRefused(f"the bundle's manifest cannot be used: {brief(str(error))}") from None


def _unpacked(raw: Any, files: Mapping[str, Any], folder: Path) -> Artifact:
    if not isinstance(raw, dict) or raw.get("path") not in files:
        raise UnusableAnswer("an artifact is none of the files")
    return artifact_of({**raw, "path": str(folder / raw["path"])})
